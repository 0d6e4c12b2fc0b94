"""Time from `segnet predict IMAGE --checkpoint cityscapes_resnet50_vd` to the written mask, without a training.

    python benchmarks/first_mask.py --rounds 5

The published model is a file of random weights with the names, shapes and form of PaddleSeg's, which a web server of
this machine serves. So the network costs nothing: a real download takes its size divided by the bandwidth. Each round
starts two processes: with an empty cache (download, conversion, prediction), and with the cache that the first one
filled. On a busy machine, processor time says more than time.
"""

import argparse
import json
import os
import pickle
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from limited_processes import Ended, run
from PIL import Image
from range_server import serving

from segnet.system.machine import machine_line
from segnet.weights.pdparams import BOOKKEEPING

NAME = "cityscapes_resnet50_vd"
NUM_CLASSES = 19
SHAPES = Path(__file__).resolve().parents[1] / "tests" / "data" / "parity" / "deeplabv3p_resnet50_vd_os8.json"
CLASSIFIER = "head.decoder.conv."  # the layer whose shape depends on the number of classes
# `python -m segnet predict ...` with the address of this machine's server.
PREDICT = """
import sys
from dataclasses import replace
from segnet.weights import zoo
url, *arguments = sys.argv[1:]
zoo.PUBLISHED_MODELS = tuple(replace(model, url=url) for model in zoo.PUBLISHED_MODELS)
from segnet.cli import main
main(["predict", *arguments])
"""


def write_published(path: Path) -> None:
    """Write random weights in the form of PaddleSeg's file of the model."""
    shapes = json.loads(SHAPES.read_text(encoding="utf-8"))["param_shapes"]
    rng = np.random.default_rng(0)
    arrays = {}
    for name, shape in shapes.items():
        if name.startswith(CLASSIFIER):
            shape = [NUM_CLASSES, *shape[1:]]
        arrays[name] = rng.uniform(0.0, 0.05, shape).astype(np.float32)
    path.write_bytes(pickle.dumps({**arrays, BOOKKEEPING: {}}, protocol=2))


def predicted(url: str, folder: Path, size: tuple[int, int]) -> Ended:
    """Predict street.png with the published model in a process of its own, which must succeed.

    Raises:
        SystemExit: it failed, or wrote no mask of `size` (height, width).
    """
    shutil.rmtree(folder / "predictions", ignore_errors=True)
    command = [sys.executable, "-c", PREDICT, url, "street.png", "--checkpoint", NAME, "--device", "cpu"]
    ended = run(command, folder, longest=3600.0)
    mask = folder / "predictions" / "street_mask.png"
    if ended.code or not mask.is_file():
        raise SystemExit(f"exit code {ended.code}:\n{ended.output}")
    with Image.open(mask) as found:
        if found.size != size[::-1]:
            raise SystemExit(f"the mask has {found.size} pixels, the image {size[::-1]}")
    return ended


def measure(folder: Path, rounds: int, size: tuple[int, int]) -> dict[str, list[Ended]]:
    """Return the processes of all rounds by title, after a first one that is not measured."""
    os.environ["TORCH_HOME"] = str(folder / "torch")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed segnet has its bytecode
    os.environ["no_proxy"] = "*"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(folder / "street.png")
    (folder / "served").mkdir()
    write_published(folder / "served" / "model.pdparams")
    found: dict[str, list[Ended]] = {"empty cache": [], "filled cache": []}
    with serving(folder / "served") as server:
        url = f"{server}/model.pdparams"
        predicted(url, folder, size)  # writes the bytecode of segnet, and reads the libraries from the disk
        for number in range(rounds):
            shutil.rmtree(folder / "torch")
            for title, row in found.items():
                row.append(predicted(url, folder, size))
                ended = row[-1]
                facts = f"{ended.seconds:.1f} s, {ended.cpu_seconds:.1f} s of processor time, {ended.peak} MiB"
                print(f"round {number + 1}, {title}: {facts}", flush=True)
    return found


def table(found: dict[str, list[Ended]]) -> list[str]:
    """Return the lines of a Markdown table: medians of time and processor time with their ranges, and peak memory."""
    lines = ["| start | time [s] | processor time [s] | peak memory [GiB] |", "| --- | --- | --- | --- |"]
    for title, rows in found.items():
        times = (spread([ended.seconds for ended in rows]), spread([ended.cpu_seconds for ended in rows]))
        peak = max(ended.peak for ended in rows) / 1024
        lines.append(f"| {title} | {' | '.join(times)} | {peak:.1f} |")
    return lines


def spread(values: list[float]) -> str:
    """Return the median, and the smallest and largest value in brackets."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--size", type=int, nargs=2, default=[512, 1024], help="height and width; default: 512 1024")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, size = Path(name), (arguments.size[0], arguments.size[1])
        found = measure(folder, arguments.rounds, size)
        published = (folder / "served" / "model.pdparams").stat().st_size / 1e6
        print(machine_line(torch.device("cpu")))
        print(f"published file: {published:.0f} MB; image {size[1]} x {size[0]}; load {os.getloadavg()[0]:.1f}\n")
        print("\n".join(table(found)))


if __name__ == "__main__":
    main()
