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
import importlib
import json
import os
import random
import runpy
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from limited_processes import LONGEST, Ended, forked
from random_datasets import KINDS, Data, draw_data, write_data

from segnet.system.machine import machine_line

TRAIN = Path(__file__).resolve().parents[1] / "train.py"
REFUSALS = range(2, 6)  # exit codes: usage, data, checkpoint, machine
ERROR = "segnet: error: "
WELL = ("trained", "refused")

BACKBONES = (
    *("resnet18_vd", "resnet18", "resnet34_vd", "resnet34_v1c", "resnet50_vd", "resnet50", "resnet50_v1c"),
    *("resnet101_vd", "resnext50_vd_32x4d"),
)
PLUGIN = "backbone.plugins=[{name:context,position:after_conv2,stages:[false,true,true,true]}]"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A configuration: its number, its dataset and the options of train.py."""

    number: int
    data: Data
    options: tuple[str, ...]


def draw(seed: int, number: int) -> Drawn:
    """Draw a configuration; it depends on the arguments alone."""
    rng = random.Random(f"{seed} {number}")
    data = draw_data(rng)
    options = [*model_options(rng), *data_options(rng, data), *training_options(rng)]
    return Drawn(number, data, tuple(options))


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
