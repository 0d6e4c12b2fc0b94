"""Train random configurations for a few steps: each must end well, or be refused in one line.

    python benchmarks/random_configurations.py --number 50 --seed 0

A configuration is drawn from the seed and its number: backbone, output stride, decoder, norm, loss, optimizer,
augmentation, crop, batch, length or `budget`, validation, and a dataset of random size, number of classes and kind of
image, which the script writes itself. `train.py` runs it in a forked process of its own with limited memory.

It fails with a stack trace, out of memory, a wrong exit code, more than one line of an error, or if it does not end.
The exit code is 1 if one failed. `--only NUMBER` repeats a configuration, and `--keep FOLDER` keeps its output.
"""

import argparse
import collections
import contextlib
import importlib
import json
import os
import random
import resource
import runpy
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from segnet.system.files import GIB
from segnet.system.machine import machine_line

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
LONGEST = 900.0  # a run that takes longer is ended, and has failed [s]
IGNORED = 255
REFUSALS = range(2, 6)  # exit codes: usage, data, checkpoint, machine
ERROR = "segnet: error: "
WELL = ("trained", "refused")

BACKBONES = (
    *("resnet18_vd", "resnet18", "resnet34_vd", "resnet34_v1c", "resnet50_vd", "resnet50", "resnet50_v1c"),
    *("resnet101_vd", "resnext50_vd_32x4d"),
)
PLUGIN = "backbone.plugins=[{name:context,position:after_conv2,stages:[false,true,true,true]}]"
SIZES = ((1, 1), (24, 24), (33, 17), (64, 96), (97, 255), (120, 200), (240, 320), (480, 640), (700, 90), (600, 800))
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset to write.

    Attributes:
        kind: key of KINDS.
        sizes: (height, width) of the images, one after the other [pixels].
        num_train, num_val: number of images.
        num_classes: number of classes.
        ignored: whether masks have ignored pixels.
    """

    kind: str
    sizes: tuple[tuple[int, int], ...]
    num_train: int
    num_val: int
    num_classes: int
    ignored: bool


@dataclass(frozen=True, slots=True)
class Drawn:
    """A configuration: its number, its dataset and the options of train.py."""

    number: int
    data: Data
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run.

    Attributes:
        code: exit code; negative for a signal.
        seconds: duration of the process [s].
        cpu_seconds: processor time of the process and its own [s].
        peak: peak memory of the process, or of the largest of its own [MiB].
        output: all that it printed.
    """

    code: int
    seconds: float
    peak: int
    output: str
    cpu_seconds: float = 0.0

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def draw(seed: int, number: int) -> Drawn:
    """Draw a configuration; it depends on the arguments alone."""
    rng = random.Random(f"{seed} {number}")
    data = draw_data(rng)
    options = [*model_options(rng), *data_options(rng, data), *training_options(rng)]
    return Drawn(number, data, tuple(options))


def draw_data(rng: random.Random) -> Data:
    """Draw a dataset: images of one size, or of three."""
    sizes = tuple(rng.choice(SIZES) for _ in range(rng.choice((1, 1, 3))))
    numbers = rng.choice(((1, 1), (3, 1), (8, 3), (12, 3)))
    return Data(rng.choice(list(KINDS)), sizes, *numbers, rng.choice((2, 2, 3, 11, 40)), rng.random() < 0.4)


def maybe(rng: random.Random, probability: float, *options: str) -> list[str]:
    """Return one of the options with this probability, else none."""
    return [rng.choice(options)] if rng.random() < probability else []


def model_options(rng: random.Random) -> list[str]:
    """Draw backbone, decoder, norm, loss and auxiliary head; narrow, so that a step takes less than a second."""
    width = rng.choice((8, 16, 32))
    decoder = rng.choice(("deeplabv3plus", "deeplabv3", "upernet"))
    narrow = {
        "deeplabv3plus": ["decoder.aspp_channels=16", "decoder.low_level_channels=8", "decoder.decoder_channels=16"],
        "deeplabv3": ["decoder.aspp_channels=16"],
        "upernet": ["decoder.decoder_channels=16"],
    }
    losses = ("cross_entropy", "ohem", "focal", "dice", "tversky", "lovasz", "rmi", "ce_dice", "ce_lovasz", "ce_rmi")
    return [
        f"backbone={rng.choice(BACKBONES)}",
        "backbone_weights=null",
        *(f"backbone.base_channels={width}", f"backbone.stem_channels={width}"),
        *maybe(rng, 0.15, "backbone.multi_grid=[1,2,4]"),
        *maybe(rng, 0.15, "backbone.drop_path_rate=0.2"),
        *maybe(rng, 0.15, PLUGIN),
        *maybe(rng, 0.1, "backbone.deformable_stages=[false,false,true,true]"),
        *maybe(rng, 0.1, "backbone.activation_checkpointing=true"),
        *maybe(rng, 0.1, "backbone.contract_dilation=true"),
        f"output_stride={rng.choice((8, 8, 16, 16, 32))}",
        *(f"decoder={decoder}", *narrow[decoder]),
        *maybe(rng, 0.1, "decoder.align_corners=true"),
        *maybe(rng, 0.4, "norm.name=sync_batch", "norm.name=group", "norm.name=layer", "norm.name=instance"),
        f"loss={rng.choice(losses)}",
        *maybe(rng, 0.3, "auxiliary_head=fcn"),
        *maybe(rng, 0.1, "frozen_stages=0", "frozen_stages=2"),
        *maybe(rng, 0.1, "norm_eval=true"),
    ]


def data_options(rng: random.Random, data: Data) -> list[str]:
    """Draw channels, crop, batch, augmentation and loading."""
    channels = KINDS[data.kind].channels
    used = rng.choice((channels, 3))
    names = ",".join(f"c{label}" for label in range(data.num_classes))
    crops = (
        *("[0,32]", "[1,1]", "[17,33]", "[32,32]", "[48,64]", "[64,64]", "[96,160]", "[128,128]", "[200,200]"),
        *("[256,256]", "[320,320]"),
    )
    batches = tuple(f"data.batch_size={number}" for number in (1, 2, 3, 4, 8, 13))
    return [
        "dataset=folder",
        f"dataset.class_names=[{names}]",
        *([] if used == 3 else [f"dataset.channels={used}", f"backbone.in_channels={used}"]),
        *maybe(rng, 0.6, *(f"data.crop_size={crop}" for crop in crops)),
        *maybe(rng, 0.6, *batches),
        *maybe(rng, 0.4, *(f"data.augment={name}" for name in ("street", "aerial", "microscope", "document"))),
        *maybe(rng, 0.2, "data.scale_range=[0.1,0.3]", "data.scale_range=[1,1]", "data.scale_range=[2,4]"),
        *maybe(rng, 0.2, "data.cutmix=0.7"),
        *maybe(rng, 0.1, "data.category_max_ratio=0.75"),
        *maybe(rng, 0.1, "data.oversample_rare=0.5"),
        *maybe(rng, 0.2, "data.cache=memory", "data.cache=disk"),
        f"data.num_workers={rng.choice((0, 0, 1, 2))}",
        *maybe(rng, 0.1, "data.check=false"),
        *maybe(rng, 0.1, "unlabeled=[{root}/images/val]"),
    ]


def training_options(rng: random.Random) -> list[str]:
    """Draw optimizer, length, precision and validation; a length is a few steps, or a short budget."""
    lengths = (
        *("trainer.max_steps=1", "trainer.max_steps=2", "trainer.max_steps=2", "trainer.max_steps=3"),
        *("trainer.max_steps=5", "trainer.max_epochs=1", "trainer.max_epochs=2", "budget=40s"),
    )
    return [
        *maybe(rng, 0.5, "optim.name=sgd", "optim.name=adamw"),
        *maybe(rng, 0.3, "optim.lr=0.01", "optim.lr=0.0001"),
        *maybe(rng, 0.2, "optim.schedule=poly", "optim.schedule=cosine"),
        *maybe(rng, 0.1, "optim.layer_decay=0.8"),
        *maybe(rng, 0.4, "ema.decay=0.9", "ema.decay=0.999", "ema.decay=0"),
        rng.choice(lengths),
        *maybe(rng, 0.15, "trainer.accumulate_grad_batches=3"),
        *maybe(rng, 0.15, "trainer.gradient_clip_val=1.0"),
        *maybe(rng, 0.15, "trainer.val_check_interval=1"),
        *maybe(rng, 0.2, "precision=bf16", "precision=fp16"),
        *maybe(rng, 0.1, "deterministic=true"),
        *maybe(rng, 0.2, "validation.flip=true", "validation.scales=[0.5,1.5]", "validation.window=100"),
        *maybe(rng, 0.1, "boundary=0.02"),
        *maybe(rng, 0.1, "worst_images=0"),
        *maybe(rng, 0.1, "checkpoint_every=1"),
        *maybe(rng, 0.1, "early_stopping.patience=1"),
        f"seed={rng.randrange(1000)}",
    ]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of image file: ending, channels, and the file's content for RGBA pixels (H, W, 4) uint8."""

    suffix: str
    channels: int
    encode: Callable[[Pixels], bytes]


def _pillow(format: str, convert: Callable[[Pixels], Image.Image]) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        with tempfile.SpooledTemporaryFile() as file:
            convert(pixels).save(file, format)
            file.seek(0)
            return file.read()

    return encode


def _wide(pixels: Pixels) -> Pixels:
    """16-bit values of 8-bit ones."""
    return pixels.astype(np.uint16) * 257


KINDS = {
    "RGB, PNG": Kind(".png", 3, _pillow("png", lambda pixels: Image.fromarray(pixels[..., :3]))),
    "RGB, JPEG": Kind(".jpg", 3, _pillow("jpeg", lambda pixels: Image.fromarray(pixels[..., :3]))),
    "gray, PNG": Kind(".png", 1, _pillow("png", lambda pixels: Image.fromarray(pixels[..., 0]))),
    "RGBA, PNG": Kind(".png", 4, _pillow("png", Image.fromarray)),
    "palette, PNG": Kind(".png", 3, _pillow("png", lambda pixels: Image.fromarray(pixels[..., :3]).quantize(64))),
    "16-bit gray, PNG": Kind(".png", 1, _pillow("png", lambda pixels: Image.fromarray(_wide(pixels[..., 0])))),
    "16-bit RGB, PNG": Kind(".png", 3, lambda pixels: cv2.imencode(".png", _wide(pixels[..., :3]))[1].tobytes()),
    "float gray, TIFF": Kind(
        ".tif", 1, _pillow("tiff", lambda pixels: Image.fromarray(pixels[..., 0].astype(np.float32) / 255))
    ),
}


def write_data(data: Data, root: Path, seed: int) -> None:
    """Write images and masks: rectangles of a class each, in its color, with noise."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (data.num_classes, 4), np.uint8)
    kind = KINDS[data.kind]
    for split, count in (("train", data.num_train), ("val", data.num_val)):
        for index in range(count):
            height, width = data.sizes[index % len(data.sizes)]
            coarse = rng.integers(0, data.num_classes, (1 + height // 40, 1 + width // 40), np.uint8)
            mask = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
            noise = rng.integers(-20, 21, (height, width, 4))
            pixels = np.clip(colors[mask].astype(int) + noise, 0, 255).astype(np.uint8)
            if data.ignored:
                mask[: height // 4] = IGNORED
            for name, suffix, content in (
                ("images", kind.suffix, kind.encode(pixels)),
                ("masks", ".png", _pillow("png", Image.fromarray)(mask)),
            ):
                path = root / name / split / f"{index}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)


def run(command: Sequence[str], cwd: Path, memory: float | None = None, longest: float = LONGEST) -> Ended:
    """Run a command in a process of its own; its caches are below `cwd`.

    Args:
        memory: limit of the memory that each of its processes may allocate [GiB]; None: no limit.
        longest: duration after which its processes are killed [s].
    """

    def execute() -> None:
        os.execve(command[0], list(command), {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")})

    return forked(execute, cwd, memory, longest)


def forked(work: Callable[[], None], cwd: Path, memory: float | None = None, longest: float = LONGEST) -> Ended:
    """Run a function in a forked process, which ends as a Python program does; arguments as for `run`."""
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = os.fork()
        if process == 0:
            os.setsid()
            os.chdir(cwd)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_DATA, (int(memory * GIB),) * 2)
            os._exit(_exit_code(work))

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)

        timer = threading.Timer(longest, kill)
        timer.start()
        _, status, usage = os.wait4(process, 0)
        timer.cancel()
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read().decode(errors="replace")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Ended(os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss // 1024, text, cpu_seconds)


def _exit_code(work: Callable[[], None]) -> int:
    """Run a function; return the exit code that a program of it has."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):
            stream.flush()
    return code


def trained(options: Sequence[str], cwd: Path, memory: float | None) -> Ended:
    """Run `train.py` with options in a forked process: what it imports is there already, which saves minutes."""

    def work() -> None:
        os.environ["XDG_CACHE_HOME"] = str(cwd / "cache")
        sys.argv = [str(TRAIN), *options]
        runpy.run_path(str(TRAIN), run_name="__main__")

    for module in ("cli.train", "cli.tables", "workflows.train", "cli.repeating"):
        importlib.import_module(f"segnet.{module}")
    sys.stdout.flush()
    return forked(work, cwd, memory)


def judged(ended: Ended, longest: float = LONGEST) -> str:
    """Return how a run ended: trained, refused, or the failure."""
    lines = [line for line in ended.output.splitlines() if line.startswith("segnet: ")]
    if "Traceback (most recent call last)" in ended.output:
        return "stack trace"
    if ended.code == -signal.SIGKILL and ended.seconds >= longest:
        return "does not end"
    if ended.code == -signal.SIGKILL or "out of memory" in ended.last_line:
        return "out of memory"
    if ended.code == 0:
        return "trained" if not lines else "error of a run that ended well"
    if ended.code not in REFUSALS:
        return f"exit code {ended.code}"
    return "refused" if [ended.last_line] == lines and lines[0].startswith(ERROR) else "not one line"


def tried(drawn: Drawn, seed: int, memory: float, keep: Path | None) -> dict[str, Any]:
    """Write the dataset of a configuration, and train it; return a row of the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(drawn.data, folder / "data", seed)
        options = [option.replace("{root}", "data") for option in drawn.options]
        options += ["dataset.root=data", "hydra.run.dir=run", "trainer.accelerator=cpu"]
        ended = trained(options, folder, memory)
        outcome = judged(ended)
        if outcome == "trained" and not (folder / "run" / "results.json").is_file():
            outcome = "no results"
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        (keep / f"{drawn.number}.txt").write_text(f"{drawn.data}\n{' '.join(options)}\n\n{ended.output}")
    return {
        "number": drawn.number,
        "outcome": outcome,
        "code": ended.code,
        "seconds": round(ended.seconds, 1),
        "peak": ended.peak,
        "last_line": ended.last_line.removeprefix(ERROR),
    }


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the counts of outcomes with their largest peak memory, the most frequent first."""
    counts = collections.Counter(row["outcome"] for row in rows)
    largest = {outcome: max(row["peak"] for row in rows if row["outcome"] == outcome) for outcome in counts}
    return [f"{outcome}: {count}, at most {largest[outcome]} MiB" for outcome, count in counts.most_common()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=50, help="configurations; default: 50")
    parser.add_argument("--seed", type=int, default=0, help="of all draws; default: 0")
    parser.add_argument("--memory", type=float, default=4.0, help="limit for each process [GiB]; default: 4")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of the configurations to run; default: all")
    parser.add_argument("--keep", type=Path, help="folder for the output of each run")
    parser.add_argument("--json", type=Path, help="file for the rows of the table")
    arguments = parser.parse_args()
    print(f"{machine_line(torch.device('cpu'))}; {arguments.memory:g} GiB for each process")
    rows = []
    for number in arguments.only or range(arguments.number):
        row = tried(draw(arguments.seed, number), arguments.seed, arguments.memory, arguments.keep)
        rows.append(row)
        failed = "  " if row["outcome"] in WELL else "! "
        text = (
            f"{failed}{number:3d}  {row['outcome']:13s} {row['code']:3d} {row['seconds']:6.1f} s {row['peak']:5d} MiB"
        )
        print(f"{text}  {row['last_line'] if row['code'] else ''}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps(rows, indent=1))
    print("\n".join(summary(rows)))
    return int(any(row["outcome"] not in WELL for row in rows))


if __name__ == "__main__":
    sys.exit(main())
