"""`budget=3min` and `budget=10min` against settings by hand of the same time, on CamVid at half size.

    python benchmarks/time_budget.py half --source PATH/TO/CamVid --root half
    OMP_NUM_THREADS=1 python benchmarks/time_budget.py run --root half --budget 3min --seeds 0 1 2 --output times.json
    python benchmarks/time_budget.py table times.json

`half` writes the dataset at half size: images are averaged, masks keep the nearest pixel. `run` starts the two runs of
a seed one after the other: first the one with a budget, and then the one by hand. It appends to a file, and continues
after what is there.

By hand is what a practitioner writes for 367 images of 240 x 180 and no GPU: ResNet18_vd from random weights, batches
of 8 whole images, AdamW at 0.001, cosine, warm-up over a tenth of the steps and at most 50, a validation after each
epoch. On a machine with other work, two runs of equal time get different shares of it. The run by hand therefore gets
the computation of the run with the budget: as many pixels of crops, and `PROBE` more for what the budget measures.

A time is that of the whole process, from start to end.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from segnet.system.machine import machine_line
from segnet.times import parse_budget

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
WAYS = ("budget", "by hand")
BATCH_SIZE, CROP_SIZE = 8, (180, 240)
PROBE = 0.05  # fraction of a budget for the measurement and for ending in time
BY_HAND = [
    *("backbone=resnet18_vd", f"data.batch_size={BATCH_SIZE}", f"data.crop_size=[{CROP_SIZE[0]},{CROP_SIZE[1]}]"),
    *("optim.name=adamw", "optim.lr=0.001", "optim.schedule=cosine"),
]


def write_half(source: Path, target: Path) -> None:
    """Write CamVid at half size: area-averaged images, masks of nearest pixels."""
    for split in ("train", "val"):
        for folder in (split, f"{split}annot"):
            way = cv2.INTER_NEAREST if folder.endswith("annot") else cv2.INTER_AREA
            (target / folder).mkdir(parents=True, exist_ok=True)
            for path in sorted((source / folder).iterdir()):
                pixels = np.asarray(Image.open(path))
                half = cv2.resize(pixels, (pixels.shape[1] // 2, pixels.shape[0] // 2), interpolation=way)
                Image.fromarray(half).save(target / folder / f"{path.stem}.png")
        (target / f"{split}.txt").write_text((source / f"{split}.txt").read_text())


def timed(root: Path, options: list[str], seed: int, folder: Path) -> dict[str, Any]:
    """Train in a process of its own; return its time [s], steps and val mIoU [%]."""
    words = ["dataset=camvid", f"dataset.root={root}", "backbone_weights=null", f"seed={seed}", *options]
    start = time.perf_counter()
    command = [sys.executable, str(TRAIN), *words, f"hydra.run.dir={folder}"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder.parent)
    seconds = time.perf_counter() - start
    if result.returncode:
        raise SystemExit(f"{' '.join(command)}\n{result.stderr}")
    found = json.loads((folder / "results.json").read_text())
    data = found["config"]["data"]
    return {
        "seconds": round(seconds, 1),
        "miou": round(100 * found["miou"], 2),
        "steps": found["steps"],
        "batch_size": data["batch_size"],
        "crop_size": data["crop_size"],
    }


def by_hand(steps: int) -> list[str]:
    """Return the options by hand for a number of steps."""
    return [*BY_HAND, f"optim.warmup_steps={min(50, steps // 10)}", f"trainer.max_steps={steps}"]


def steps_by_hand(budgeted: dict[str, Any]) -> int:
    """Return the number of steps by hand that compute as much as a run with a budget did."""
    pixels = int(budgeted["steps"] * budgeted["batch_size"] * math.prod(budgeted["crop_size"]))
    return max(1, round((1 + PROBE) * pixels / (BATCH_SIZE * math.prod(CROP_SIZE))))


def run(arguments: argparse.Namespace) -> None:
    """Run what is missing in the output file, and append to it."""
    root, output, budget = arguments.root.resolve(), arguments.output.resolve(), arguments.budget
    found: dict[str, Any] = (
        json.loads(output.read_text())
        if output.exists()
        else {"machine": machine_line(torch.device("cpu")), "runs": []}
    )
    done = {(row["budget"], row["way"], row["seed"]): row for row in found["runs"]}
    with tempfile.TemporaryDirectory() as name:
        for seed in arguments.seeds:
            for way in arguments.ways:
                if (budget, way, seed) in done:
                    continue
                options = [f"budget={budget}", "data.crop_size=null", *arguments.options]
                if way == "by hand":
                    options = by_hand(steps_by_hand(done[budget, "budget", seed]))
                row = timed(root, options, seed, Path(name) / f"{way.replace(' ', '_')}{seed}")
                row = {"budget": budget, "way": way, "seed": seed, "load": os.getloadavg()[0], **row}
                done[budget, way, seed] = row
                found["runs"].append(row)
                output.write_text(json.dumps(found, indent=1))
                print(row, flush=True)


def print_table(path: Path) -> None:
    """Print one row for each budget and way."""
    found = json.loads(path.read_text())
    print(f"{found['machine']}\n\n| run | steps | val mIoU [%] | mean | seconds | largest overrun [%] |")
    print("| --- | --- | --- | --- | --- | --- |")
    keys = dict.fromkeys((row["budget"], row["way"]) for row in found["runs"])
    for budget, way in keys:
        rows = [row for row in found["runs"] if (row["budget"], row["way"]) == (budget, way)]
        mious = [row["miou"] for row in rows]
        crops = {f"{row['batch_size']} x {'x'.join(map(str, row['crop_size']))}" for row in rows}
        over = max(100 * (row["seconds"] / parse_budget(budget) - 1) for row in rows)
        seconds = ", ".join(f"{row['seconds']:.0f}" for row in rows)
        spread = f" ± {statistics.stdev(mious):.1f}" if len(mious) > 1 else ""
        print(
            f"| {budget}, {way} ({', '.join(sorted(crops))}) | {', '.join(str(row['steps']) for row in rows)} "
            f"| {', '.join(f'{miou:.1f}' for miou in mious)} | {statistics.mean(mious):.1f}{spread} "
            f"| {seconds} | {over:+.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    half = verbs.add_parser("half", help="write the dataset")
    half.add_argument("--source", type=Path, required=True, help="CamVid in the layout of the SegNet tutorial")
    half.add_argument("--root", type=Path, required=True)
    runs = verbs.add_parser("run", help="train with a budget and by hand, in turn")
    runs.add_argument("--root", type=Path, required=True, help="the dataset that half wrote")
    runs.add_argument("--budget", default="3min")
    runs.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    runs.add_argument(
        "--ways", nargs="+", choices=WAYS, default=WAYS, help="runs of a seed; by hand needs its budget's"
    )
    runs.add_argument("--output", type=Path, required=True, help="JSON file")
    runs.add_argument("options", nargs="*", help="more options of the runs with a budget")
    table = verbs.add_parser("table", help="print the table")
    table.add_argument("output", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "half":
        write_half(arguments.source, arguments.root)
    elif arguments.verb == "run":
        run(arguments)
    else:
        print_table(arguments.output)


if __name__ == "__main__":
    main()
