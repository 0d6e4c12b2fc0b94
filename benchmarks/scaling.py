"""The claim: the cost per file does not depend on the number of files, nor the cost per megapixel on the image size.

    python benchmarks/scaling.py                                       # up to 10,000 files and 16 megapixels: minutes
    python benchmarks/scaling.py --files 1000 10000 100000 1000000 --sides 1000 4000 10000 20000

Files: the script writes a folder dataset of tiny PNGs, no two alike, into a temporary folder. "open" lists and pairs
them, as a training does at its start. "scan" reads every file, as a training does before its first step: once without
and once with the scan cache. Times are medians of three, or one measurement above 10,000 files. The files were just
written, so the disk's cache may still hold them. Writing and deleting them takes longer than the measurement: 100,000
pairs took more than six minutes on a virtual disk, so the default ends at 10,000.

Images: a small network predicts each in windows in a fresh process, as `predict_memory.py` does. "memory" is the peak
of the process without the bytes of the image and its mask.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from predict_memory import BACKBONES, MIB, in_a_process_of_its_own, write_checkpoint
from side_by_side import machine

from segnet.data.datasets.folder import Folder
from segnet.data.scan.scan import ScanCache, scan_split

T = TypeVar("T")

NAMES = ["background", "object"]
SIDE = 8  # of the tiny images [pixels]
WINDOW = 1024  # of the predictions [pixels]
MOST_TIME = 1.5  # largest ratio to the reference; it includes other work on the machine
MOST_MEMORY = 1.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; return 1 if the claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="*", default=[100, 1000, 10_000], help="pairs of image and mask")
    parser.add_argument(
        "--sides", type=int, nargs="*", default=[500, 1000, 2000, 4000], help="of square images [pixels]"
    )
    options = parser.parse_args(arguments)
    print(machine(torch.device("cpu")))
    holds = True
    if options.files:
        holds &= _files(sorted(options.files))
    if options.sides:
        holds &= _images(sorted(options.sides))
    print(
        "the claim holds" if holds else f"the claim does NOT hold: above {MOST_TIME} in time or {MOST_MEMORY} in memory"
    )
    return 0 if holds else 1


def _files(counts: list[int]) -> bool:
    ways = ("open", "scan", "scan again")
    print(f"\n{'files':>9}" + "".join(f"{f'{way} [s]':>18}{'[ms a file]':>13}" for way in ways))
    found = {}
    for num_files in counts:
        with tempfile.TemporaryDirectory() as folder:
            write_dataset(Path(folder), num_files)
            taken = found[num_files] = time_dataset(Path(folder), 3 if num_files <= 10_000 else 1)
        cells = "".join(f"{seconds:>18.3f}{1000 * seconds / num_files:>13.4f}" for seconds in taken)
        print(f"{num_files:>9,}{cells}", flush=True)
    ratios = growth(found)
    growths = ", ".join(f"{way} {ratio:.2f}" for way, ratio in zip(ways, ratios, strict=True))
    print(f"a file of {counts[-1]:,}, relative to the cheapest: {growths}")
    return max(ratios) <= MOST_TIME


def growth(taken: Mapping[int, Sequence[float]]) -> list[float]:
    """For each operation, the cost per file among the most files, relative to the lowest cost.

    Args:
        taken: number of files -> seconds of each operation.
    """
    each = [[seconds / count for seconds in values] for count, values in taken.items()]
    most = [seconds / max(taken) for seconds in taken[max(taken)]]
    return [cost / min(costs) for cost, costs in zip(most, zip(*each, strict=True), strict=True)]


def write_dataset(root: Path, num_files: int) -> None:
    """Write pairs of tiny PNGs, no two alike, 1,000 per folder."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:, SIDE // 2 :] = 1
    encoded_mask = cv2.imencode(".png", mask)[1].tobytes()
    rng = np.random.default_rng(0)
    for number in range(num_files):
        image = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        for kind, encoded in (("images", cv2.imencode(".png", image)[1].tobytes()), ("masks", encoded_mask)):
            path = root / kind / "train" / f"{number // 1000:04d}" / f"{number:07d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)


def time_dataset(root: Path, repeats: int) -> tuple[float, ...]:
    """Median times to open the dataset, to scan it, and to scan it again [seconds]."""
    spec = {"name": "folder", "root": str(root), "class_names": NAMES}

    def read_all(dataset: Folder, memory: Path) -> int:
        return len(scan_split(dataset, "train", ScanCache(spec, dataset.classes, memory), progress=False).readable)

    taken = []
    for repeat in range(repeats):
        memory = root / f"memory {repeat}"
        opening, dataset = _timed(lambda: Folder("train", str(root), NAMES))
        first, num_read = _timed(partial(read_all, dataset, memory))
        again, num_recalled = _timed(partial(read_all, dataset, memory))
        assert num_read == num_recalled == len(dataset)
        taken.append((opening, first, again))
    return tuple(statistics.median(times) for times in zip(*taken, strict=True))


def _timed(run: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _images(sides: list[int]) -> bool:
    ways = ("streamed", "in memory")
    print(f"\n{'side':>9}{'megapixels':>12}" + "".join(f"{f'{way}: [s/MP]':>21}{'memory [MiB]':>14}" for way in ways))
    costs: dict[int, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = write_checkpoint(Path(folder) / "random.ckpt", BACKBONES["small"], 19)
        for side in sides:
            megapixels = side**2 / 1e6
            costs[side] = []
            for way in ways:
                found = in_a_process_of_its_own(checkpoint, way, side, WINDOW)
                costs[side].append((found["seconds"] / megapixels, (found["peak"] - found["arrays"]) / MIB))
            cells = "".join(f"{seconds:>21.3f}{memory:>14.0f}" for seconds, memory in costs[side])
            print(f"{side:>9,}{megapixels:>12.2f}{cells}", flush=True)
    reference = next((side for side in sides if side > WINDOW), sides[-1])  # the smallest size that is cut into windows
    holds = True
    for index, way in enumerate(ways):
        (seconds, memory), (seconds_1, memory_1) = costs[sides[-1]][index], costs[reference][index]
        print(
            f"{way}, {sides[-1]:,} to {reference:,}: time per megapixel {seconds / seconds_1:.2f}, memory "
            f"{memory / memory_1:.2f}"
        )
        holds &= seconds / seconds_1 <= MOST_TIME and memory / memory_1 <= MOST_MEMORY
    return holds


if __name__ == "__main__":
    sys.exit(main())
