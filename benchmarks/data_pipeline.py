"""Training samples per second of one core, against the plain albumentations pipeline.

    python benchmarks/data_pipeline.py

The plain pipeline uses albumentations for everything. It reads the whole image and mask with OpenCV; another row reads
them with Pillow. It resizes the image by a random factor, pads, crops, flips, changes colors, normalizes to float and
makes a tensor. segnet's samples are uint8: the model normalizes. Both draw crops from the same distribution.

Each variant has a process of its own with one thread, prepared like a worker of a data loader, because the state of the
memory allocator changes the times. The variants take turns on each image. Times are those of the processor, not of the
clock, and a ratio is the median over the rounds, so that other work on the machine changes little.
"""

import argparse
import importlib.util
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise its import asks the network for a newer version

import albumentations as A
import cv2
import numpy as np
import PIL
import torch
from albumentations.pytorch import ToTensorV2
from numpy.typing import NDArray
from PIL import Image
from side_by_side import machine

from segnet.classes import Classes
from segnet.config import DataConfig, known
from segnet.data.augment.presets import complete_augment
from segnet.data.cache.decoded import Arena, CacheBudget, DiskCache, MemoryCache
from segnet.data.datamodule import KEPT_MEMORY, LARGEST_ARRAY, train_transform
from segnet.data.dataset import FileDataset, Sample
from segnet.data.samples import TrainSamples, to_tensors
from segnet.system.files import GIB
from segnet.system.memory import keep_freed_memory

NUM_CLASSES = 19
IGNORE_INDEX = 255
PLAIN, PLAIN_AUGMENT = "plain: all, OpenCV", "plain: augment"  # what segnet is compared with
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Setting:
    """Sizes are (height, width) [pixels]; the recipes' crops."""

    name: str
    size: tuple[int, int]
    crop_size: tuple[int, int]
    suffix: str


SETTINGS = (
    Setting("CamVid, PNG", (360, 480), (256, 320), ".png"),
    Setting("Cityscapes, PNG", (1024, 2048), (512, 1024), ".png"),
    Setting("Cityscapes, JPEG", (1024, 2048), (512, 1024), ".jpg"),
)


def write_files(folder: Path, setting: Setting, count: int) -> FileDataset:
    """Write images of noise with blocks of classes, about as hard to compress as photos of streets."""
    pairs = []
    height, width = setting.size
    for number in range(count):
        rng = np.random.default_rng(number)
        ids = rng.integers(0, NUM_CLASSES, (height // 40, width // 40), np.uint8)
        mask = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST)
        colors = rng.integers(40, 216, (NUM_CLASSES, 3))[mask]
        noise = cv2.GaussianBlur(rng.normal(0, 25, (height, width, 3)).astype(np.float32), (0, 0), 2)
        image = (colors + noise).clip(0, 255).round().astype(np.uint8)
        pair = folder / f"{number}{setting.suffix}", folder / f"{number}_mask.png"
        Image.fromarray(image).save(pair[0], quality=90)  # of JPEG
        Image.fromarray(mask).save(pair[1])
        pairs.append(pair)
    return FileDataset(pairs, Classes.create([f"class {number}" for number in range(NUM_CLASSES)]))


def plain_pipeline(data: DataConfig) -> A.Compose:
    """The same augmentation as a user of albumentations would write it."""
    data = complete_augment(data)
    strength = known(data.color_jitter)
    smallest, largest = known(data.scale_range)
    around_1 = (1 - strength, 1 + strength)
    return A.Compose(
        [
            A.RandomScale((smallest - 1, largest - 1), interpolation=cv2.INTER_LINEAR, p=1),
            A.PadIfNeeded(
                *known(data.crop_size),
                position="random",
                border_mode=cv2.BORDER_CONSTANT,
                fill=tuple(round(255 * value) for value in MEAN),
                fill_mask=IGNORE_INDEX,
                p=1,
            ),
            A.RandomCrop(*known(data.crop_size), p=1),
            A.HorizontalFlip(p=known(data.flip)),
            A.ColorJitter(
                brightness=around_1, contrast=around_1, saturation=around_1, hue=(-strength / 4, strength / 4), p=1
            ),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ],
        seed=0,
    )


def read_with_opencv(paths: tuple[Path, Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read image and mask as most users of albumentations do."""
    image, mask = cv2.imread(str(paths[0]), cv2.IMREAD_COLOR), cv2.imread(str(paths[1]), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), np.asarray(mask, np.uint8)


def read_with_pillow(paths: tuple[Path, Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    with Image.open(paths[0]) as image, Image.open(paths[1]) as mask:
        return np.array(image.convert("RGB")), np.array(mask)


def variants(dataset: FileDataset, data: DataConfig, folder: Path) -> dict[str, Callable[[int, int], object]]:
    """The functions that are timed; each takes the round and the image."""
    plain = plain_pipeline(data)
    own = train_transform(data, MEAN, IGNORE_INDEX, seed=0)
    decoded = [dataset.load(index) for index in range(len(dataset))]

    def augment_own(epoch: int, index: int) -> object:
        image, mask = own(decoded[index].image, decoded[index].mask, epoch=epoch, index=index)
        return to_tensors(Sample(image, mask, ""))

    def whole_plain(
        read: Callable[[tuple[Path, Path]], tuple[NDArray[np.uint8], NDArray[np.uint8]]], index: int
    ) -> object:
        image, mask = read(dataset.pairs[index])
        return plain(image=image, mask=mask)

    def samples(source: FileDataset | MemoryCache | DiskCache) -> Callable[[int, int], object]:
        reader = TrainSamples(source, own)
        return lambda epoch, index: reader[epoch, index]

    return {
        "segnet: decode whole files": lambda epoch, index: dataset.load(index),
        PLAIN_AUGMENT: lambda epoch, index: plain(image=decoded[index].image, mask=decoded[index].mask),
        "segnet: augment": augment_own,
        PLAIN: lambda epoch, index: whole_plain(read_with_opencv, index),
        "plain: all, Pillow": lambda epoch, index: whole_plain(read_with_pillow, index),
        "segnet: all": samples(dataset),
        "segnet: all, data.cache=disk": samples(DiskCache(dataset, CacheBudget(GIB), folder / "kept")),
        "segnet: all, data.cache=memory": samples(MemoryCache(dataset, Arena(GIB))),
    }


class Worker:
    """A process that runs and times one variant."""

    def __init__(self, name: str, function: Callable[[int, int], object]) -> None:
        context = multiprocessing.get_context("fork")  # functions need not be pickled
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, function, name.startswith("segnet")), daemon=True)
        self._process.start()

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # SIGTERM may have a handler, which a fork inherits
        self._process.join()

    def time(self, epoch: int, index: int) -> float:
        """Make one sample; return the time on the processor [s]."""
        self._connection.send((epoch, index))
        return float(self._connection.recv())


def _serve(connection: Connection, function: Callable[[int, int], object], is_segnet: bool) -> None:
    cv2.setNumThreads(0)
    if is_segnet:
        keep_freed_memory(LARGEST_ARRAY, KEPT_MEMORY)  # as the workers of a training do
    while True:
        key = connection.recv()
        start = time.process_time()
        function(*key)
        connection.send(time.process_time() - start)


def measure(functions: dict[str, Callable[[int, int], object]], num_images: int, rounds: int) -> dict[str, list[float]]:
    """Mean time per sample in each round, after a warm-up round [s]."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, function)) for name, function in functions.items()}
        for number in range(rounds + 1):
            taken = dict.fromkeys(functions, 0.0)
            for index in range(num_images):
                for name, worker in workers.items():
                    taken[name] += worker.time(number, index)
            for name, seconds in taken.items() if number else ():
                times[name].append(seconds / num_images)
    return times


def table(times: dict[str, list[float]]) -> str:
    """Print the medians, and the median ratios to the plain pipeline."""
    lines = [f"{'one core':32} {'ms a sample':>12} {'samples/s':>10} {'against plain':>14}"]
    for name, seconds in times.items():
        same = PLAIN_AUGMENT if "augment" in name else PLAIN
        ratio = statistics.median(plain / own for plain, own in zip(times[same], seconds, strict=True))
        compared = f"{ratio:.2f} x" if name.startswith("segnet") and "decode" not in name else ""
        typical = statistics.median(seconds)
        lines.append(f"{name:32} {1000 * typical:12.2f} {1 / typical:10.1f} {compared:>14}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="of each size")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", nargs="*", default=[setting.name for setting in SETTINGS], help="some of the names")
    options = parser.parse_args(arguments)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    print(
        f"{machine(torch.device('cpu'))}, albumentations {A.__version__}, OpenCV {cv2.__version__}, Pillow "
        f"{PIL.__version__}, numpy {np.__version__}, {'with' if importlib.util.find_spec('isal') else 'without'} isal"
    )
    for setting in (setting for setting in SETTINGS if setting.name in options.sizes):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            dataset = write_files(folder, setting, options.images)
            data = DataConfig(crop_size=list(setting.crop_size))
            size = statistics.mean(pair[0].stat().st_size for pair in dataset.pairs)
            print(
                f"\n{setting.name}: {setting.size[1]} x {setting.size[0]}, {size / 1e6:.2f} MB a file, crops of "
                f"{setting.crop_size[1]} x {setting.crop_size[0]}"
            )
            print(table(measure(variants(dataset, data, folder), options.images, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
