"""Peak memory of training with large val images, which validation cuts into windows.

    python benchmarks/validation_memory.py --height 4000 --width 6000
    python benchmarks/validation_memory.py --height 4000 --width 6000 --window 8192   # whole images

The script writes a val image of this size and small train images. It trains a small network with 19 classes for two
steps, including the final evaluation and the report. The first line shows the trial before the first step.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_verbs import MODEL
from PIL import Image

NUM_CLASSES = 19
NUM_TRAIN = 8
TRAIN_SIDE = 512


def peak() -> int:
    """Return the peak memory of this process so far [MiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def make_data(root: Path, height: int, width: int) -> None:
    """Write a val image of this size, and train images."""
    rng = np.random.default_rng(0)
    sizes = {f"train/{number}": (TRAIN_SIDE, TRAIN_SIDE) for number in range(NUM_TRAIN)} | {
        "val/large": (height, width)
    }
    for name, (rows, columns) in sizes.items():
        shape = (max(1, rows // 50), max(1, columns // 50))
        for kind, pixels in (
            ("images", rng.integers(0, 256, (*shape, 3), dtype=np.uint8)),
            ("masks", rng.integers(0, NUM_CLASSES, shape, dtype=np.uint8)),
        ):
            path = root / kind / f"{name}.{'jpg' if kind == 'images' else 'png'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            way = Image.Resampling.BICUBIC if kind == "images" else Image.Resampling.NEAREST
            Image.fromarray(pixels).resize((columns, rows), way).save(path)


def train(root: Path, window: int | None) -> None:
    """Train as the command line does, and print the peaks."""
    from segnet.cli import main as segnet
    from segnet.training.callbacks.largest_image import TryLargestImage

    original = TryLargestImage.on_train_start

    def measured(self: TryLargestImage, trainer: Any, pl_module: Any) -> None:
        before, started = peak(), time.monotonic()
        original(self, trainer, pl_module)
        took = time.monotonic() - started
        print(f"largest val image before the first step: {before} -> {peak()} MiB, {took:.0f} s", flush=True)

    TryLargestImage.on_train_start = measured  # type: ignore[method-assign]
    names = ",".join(f"c{number}" for number in range(NUM_CLASSES))
    options = [
        *("dataset=folder", f"dataset.root={root}", f"dataset.class_names=[{names}]", f"hydra.run.dir={root}/run"),
        *("data.batch_size=4", "data.crop_size=[256,256]", "data.num_workers=0", "trainer.max_steps=2"),
        *("trainer.accelerator=cpu", *MODEL),
        *([] if window is None else [f"validation.window={window}"]),
    ]
    try:
        segnet(["train", *options])
    finally:
        print(f"whole run: peak {peak()} MiB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=4000, help="of the val image [pixels]; default: 4000")
    parser.add_argument("--width", type=int, default=6000, help="of the val image [pixels]; default: 6000")
    parser.add_argument("--window", type=int, help="validation.window; default: that of a training")
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)  # in the process of the training
    options = parser.parse_args()
    if options.root:
        return train(options.root, options.window)
    with tempfile.TemporaryDirectory() as folder:
        make_data(Path(folder), options.height, options.width)
        arguments = [__file__, "--root", folder, *(["--window", str(options.window)] if options.window else [])]
        sys.exit(subprocess.run([sys.executable, *arguments], check=False).returncode)


if __name__ == "__main__":
    main()
