"""The claim: an image of 20,000 x 20,000 pixels takes no more memory than one of 4,000 x 4,000, besides its own bytes.

    python benchmarks/predict_memory.py
    python benchmarks/predict_memory.py --backbone resnet18_vd --sizes 4000 20000

Several fresh processes segment each image, and the system reports their peaks (ru_maxrss). The peaks vary with the
allocator: the table shows their median, the lowest ("from") and the highest ("to"). "streamed": a function returns
windows of the image and another takes parts of the mask, as with `segnet predict --scene`. "in memory": image and mask
are arrays, whose bytes are subtracted. The weights are random, which does not change memory. The default network is
small, so that growth with the image shows most.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.images.windows import Window, grid
from segnet.inference.predictor import Predictor
from segnet.models.checkpoint import save_checkpoint
from segnet.models.segmentation_model import SegmentationModel

BACKBONES: dict[str, dict[str, Any]] = {
    "small": {"block": "basic", "depths": [1, 1, 1, 1], "base_channels": 8, "stem_channels": 8},  # and a small decoder
    "resnet18_vd": {"block": "basic", "depths": [2, 2, 2, 2]},
    "resnet50_vd": {"block": "bottleneck", "depths": [3, 4, 6, 3]},
}
HALF = [0.5, 0.5, 0.5]
MIB = 2**20
BAND = 500  # rows of the image that are generated at a time
LIMIT = 1.10  # largest ratio of memory to that of 4,000 x 4,000


def main() -> int:
    """Print the table; return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", choices=BACKBONES, default="small")
    parser.add_argument("--classes", type=int, default=19)
    parser.add_argument("--window", type=int, default=1024, help="side of a window [pixels]")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 4000, 20000], help="sides of the images")
    parser.add_argument("--repeats", type=int, default=3, help="processes per image")
    parser.add_argument("--ways", nargs="+", choices=("streamed", "in memory"), default=["streamed", "in memory"])
    options = parser.parse_args()
    print(f"{options.backbone}, {options.classes} classes, windows of {options.window} pixels; memory in MiB")
    heads = f"{'array bytes':>13}{'peak less those':>17}{'from':>7}{'to':>7}{'to 4,000':>10}"
    print(f"{'way':<12}{'side':>8}{'seconds':>9}{heads}")
    holds = True
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "random.ckpt", BACKBONES[options.backbone], options.classes)
        for way in options.ways:
            reference = None
            for side in options.sizes:
                found = [in_a_process_of_its_own(checkpoint, way, side, options.window) for _ in range(options.repeats)]
                peaks = [run["peak"] - run["arrays"] for run in found]
                peak = statistics.median(peaks)
                reference = peak if side == 4000 else reference
                ratio = peak / reference if reference else None
                holds &= ratio is None or ratio <= LIMIT
                seconds = statistics.median(run["seconds"] for run in found)
                print(
                    f"{way:<12}{side:>8,}{seconds:>9.0f}{found[0]['arrays'] / MIB:>13.0f}{peak / MIB:>17.0f}"
                    f"{min(peaks) / MIB:>7.0f}{max(peaks) / MIB:>7.0f}{'' if ratio is None else f'{ratio:>10.3f}'}",
                    flush=True,
                )
    print("the claim holds" if holds else f"the claim does NOT hold: above {LIMIT}")
    return 0 if holds else 1


def write_checkpoint(path: Path, backbone: dict[str, Any], num_classes: int) -> Path:
    """Write a DeepLabV3+ on a ResNet_vd at output stride 16 with random weights."""
    torch.manual_seed(0)
    small = {"aspp_channels": 8, "low_level_channels": 4, "decoder_channels": 8} if "base_channels" in backbone else {}
    spec: dict[str, Any] = {
        "backbone": {"name": "resnet", "output_stride": 16, **backbone},
        "decoder": {"name": "deeplabv3plus", "output_stride": 16, **small},
        "num_classes": num_classes,
        "mean": HALF,
        "std": HALF,
    }
    weights = {f"model.{name}": value for name, value in SegmentationModel(**spec).state_dict().items()}
    classes = Classes.create([f"class {index}" for index in range(num_classes)])
    save_checkpoint({"state_dict": weights, "hyper_parameters": {"model": spec, "classes": classes.to_dict()}}, path)
    return path


def in_a_process_of_its_own(checkpoint: Path, way: str, side: int, window: int) -> dict[str, float]:
    """Measure in a fresh process: seconds, peak of the process, and bytes of its arrays."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, (checkpoint, way, side, window))


def measure(checkpoint: Path, way: str, side: int, window: int) -> dict[str, float]:
    """Segment one image; runs in a fresh process."""
    predictor = Predictor(checkpoint, "cpu", window=window)
    tile = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    start = time.monotonic()
    arrays = 0
    if way == "streamed":
        written = 0

        def write(part: Window, ids: NDArray[np.integer]) -> None:
            nonlocal written
            written += ids.size

        predictor.stream((side, side), lambda part: pixels(tile, part), write)
        assert written == side * side
    else:
        image = np.empty((side, side, 3), np.uint8)
        for band in grid((side, side), (BAND, BAND)):
            image[band.within()] = pixels(tile, band)
        arrays = image.nbytes + predictor.segment(image).mask.nbytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": time.monotonic() - start, "peak": peak, "arrays": arrays}


def pixels(tile: NDArray[np.uint8], part: Window) -> NDArray[np.uint8]:
    """A window of an endless image that repeats one tile."""
    rows = np.arange(part.top, part.top + part.height) % len(tile)
    columns = np.arange(part.left, part.left + part.width) % len(tile)
    return tile[rows[:, None], columns]


if __name__ == "__main__":
    sys.exit(main())
