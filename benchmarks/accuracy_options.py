"""Accuracy, step time and memory of training options, each alone and in sums: CamVid at half size, several seeds.

    python benchmarks/accuracy_options.py --camvid CamVid --output options          # costs, then all trainings
    python benchmarks/accuracy_options.py --camvid CamVid --output options --rows plain rmi --costs-only
    python benchmarks/accuracy_options.py --camvid CamVid --output options --sum "rmi+cwd" --seeds 0 1 2

A row is a set of options of `segnet train` on top of the recipe camvid_resnet18_vd, made small: images of 240 x 180, 32
base channels, crops of 160 x 128, and no class weights. ROWS lists them; `--row "name: option option"` adds one, and
`--sum a+b` trains the options of two rows together. Rows that need a teacher train it first (ResNet50_vd, 64 base
channels), unless `--teacher` names a checkpoint. A teacher that is worse than plain makes its students worse, too.

Everything is kept in --output: the half-size dataset, a run folder for each row and seed, results.json and table.md. A
run that was killed resumes; a finished one is not repeated. The table has the mean val mIoU, and the mean difference
from plain with its standard error over the seeds. Costs are ratios to plain: a training step, in processor time on a
CPU, so that other work on the machine counts little, and the growth of memory, each row in a process of its own.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.cli.composition import composed
from segnet.config import Config, known
from segnet.errors import ConfigError, MachineError
from segnet.images.formats import IMAGE_SUFFIXES
from segnet.system.files import replacing
from segnet.training.run_data import RunData
from segnet.training.specs import complete_specs
from segnet.training.trainer import training_trainer
from segnet.workflows.costs import resident
from segnet.workflows.probe import Trial
from segnet.workflows.train import prepare

SMALL = [
    "backbone.base_channels=32",
    "data.crop_size=[128,160]",
    "precision=float32",
    "data.num_workers=0",
    "~loss.class_weight",
]
TEACHER, TEACHER_OPTIONS = "teacher", ["backbone=resnet50_vd", "backbone.base_channels=64"]
PLAIN = "plain"
PLUGIN = "{name:NAME,position:after_conv2,stages:[false,true,true,true]}"
# Row -> options. TEACHER stands for the checkpoint of the teacher.
ROWS: dict[str, list[str]] = {
    PLAIN: [],
    "rmi": ["loss=ce_rmi"],
    "cwd": ["teacher=TEACHER"],
    "dist": ["teacher=TEACHER", "distillation=dist"],
    "context": [f"backbone.plugins=[{PLUGIN.replace('NAME', 'context')}]"],
    "squeeze_excite": [f"backbone.plugins=[{PLUGIN.replace('NAME', 'squeeze_excite')}]"],
    "drop_path": ["backbone.drop_path_rate=0.1"],
    "cutmix": ["data.cutmix=0.5"],
    "auxiliary": ["auxiliary_head=fcn"],
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, train and write the table; return 0."""
    options = _parser().parse_args(arguments)
    output = Path(options.output)
    if options.measure:
        print(json.dumps(measure(json.loads(options.measure), output)))
        return 0
    rows = chosen_rows(options.rows, options.row, options.sum)
    halve(Path(options.camvid), output / "camvid")
    recipe = ["experiment=camvid_resnet18_vd", f"dataset.root={output / 'camvid'}", *SMALL]
    recipe += [f"trainer.max_epochs={options.epochs}", *options.options]
    results = Results(output)
    teacher = options.teacher or output / "runs" / TEACHER / "best.ckpt"
    if not options.teacher and any("teacher=TEACHER" in row for row in rows.values()):
        train(output / "runs" / TEACHER, [*recipe, *TEACHER_OPTIONS, "seed=100"])
    full = {name: [*recipe, *located(row, teacher)] for name, row in rows.items()}
    for name, row in full.items():
        if "step" not in results.of(name):
            results.add(name, options=rows[name], **measured(row, output))
    for seed in [] if options.costs_only else options.seeds:  # all rows of a seed first: a part is a table already
        for name, row in full.items():
            if str(seed) not in results.of(name).get("miou", {}):
                found = train(output / "runs" / f"{name}_{seed}", [*row, f"seed={seed}"])
                results.add(name, miou={**results.of(name).get("miou", {}), str(seed): found})
    print(results.table(list(rows)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="accuracy_options.py", description="Accuracy and cost of training options on half-size CamVid."
    )
    parser.add_argument("--camvid", help="CamVid in SegNet's layout, 480 x 360")
    parser.add_argument("--output", required=True, help="folder of dataset, runs and table")
    parser.add_argument("--rows", nargs="+", default=list(ROWS), help="rows to run; plain is added")
    parser.add_argument("--row", action="append", default=[], metavar="'NAME: OPTION ...'", help="another row")
    parser.add_argument("--sum", action="append", default=[], metavar="NAME+NAME", help="the options of several rows")
    parser.add_argument("--teacher", metavar="CHECKPOINT", help="teacher of the rows that need one")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--options", nargs="+", default=[], help="options of all rows")
    parser.add_argument("--costs-only", action="store_true", help="train nothing but a teacher")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    return parser


def chosen_rows(names: Sequence[str], added: Sequence[str], sums: Sequence[str]) -> dict[str, list[str]]:
    """Return the rows to run, plain first.

    Raises:
        ConfigError: a name that is no row.
    """
    rows = {**ROWS, **{text.partition(":")[0].strip(): text.partition(":")[2].split() for text in added}}
    wanted = [PLAIN, *names, *(text.partition(":")[0].strip() for text in added), *sums]
    unknown = sorted({part for name in wanted for part in name.split("+")} - set(rows))
    if unknown:
        raise ConfigError(f"{', '.join(unknown)}: no such row: choose from {', '.join(rows)}, or add one with --row")
    return {name: [option for part in name.split("+") for option in rows[part]] for name in wanted}


def located(row: Sequence[str], teacher: str | Path) -> list[str]:
    """Return the options of a row with the path of the teacher."""
    return [option.replace("TEACHER", str(teacher)) for option in row]


def halve(source: Path, target: Path) -> None:
    """Write CamVid's train and val splits at half size, once."""
    for split in ("train", "val"):
        for folder, way in ((split, Image.Resampling.BOX), (f"{split}annot", Image.Resampling.NEAREST)):
            (target / folder).mkdir(parents=True, exist_ok=True)
            for path in sorted(path for path in (source / folder).iterdir() if path.suffix in IMAGE_SUFFIXES):
                if not (target / folder / path.name).exists():
                    with Image.open(path) as image, replacing(target / folder / path.name) as temporary:
                        image.resize((image.width // 2, image.height // 2), way).save(
                            temporary, image.format, quality=95
                        )
        text = (source / f"{split}.txt").read_text(encoding="utf-8")
        (target / f"{split}.txt").write_text(text, encoding="utf-8")


def train(folder: Path, options: Sequence[str]) -> float:
    """Train in a folder, or resume there, and return the val mIoU of the best checkpoint [fraction].

    Raises:
        MachineError: the training failed.
    """
    results = folder / "results.json"
    if not results.is_file():
        last = folder / "last.ckpt"
        resumed = [f"checkpoint={last}"] if last.is_file() else []
        command = [sys.executable, "-m", "segnet", "train", *options, f"hydra.run.dir={folder}", *resumed]
        if code := subprocess.run(command, check=False).returncode:
            raise MachineError(f"{folder}: the training ended with exit code {code}: repeat the command to resume it")
    return float(json.loads(results.read_text(encoding="utf-8"))["miou"])


def measured(options: Sequence[str], output: Path) -> dict[str, float]:
    """Run `measure` in a process of its own.

    Raises:
        MachineError: it failed.
    """
    command = [sys.executable, __file__, "--output", str(output), "--measure", json.dumps(list(options))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineError(f"the measurement failed: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measure(options: Sequence[str], output: Path, repeats: int = 3) -> dict[str, float]:
    """Return the time of a training step [s] and the peak memory of training [bytes].

    The step is the fastest of several, on random images. Time and memory are processor time and the growth of the
    process on a CPU, and elapsed time and torch's memory on a GPU.
    """
    before = resident()  # with all imports, and without the model and its teacher
    config = complete_specs(composed("train", Config, list(options)))
    trainer = training_trainer(config, output / "measured")
    config, _, task = prepare(config, RunData(config.dataset), None, trainer)
    device = trainer.strategy.root_device
    on_gpu = device.type == "cuda"
    trial = Trial(
        task.to(device),
        known(config.data.crop_size),
        config.precision,
        time.perf_counter if on_gpu else time.process_time,
    )
    step = min(trial.step(known(config.data.batch_size)) for _ in range(repeats))
    memory = torch.cuda.max_memory_allocated(device) if on_gpu else resident() - before
    return {"step": step, "memory": memory}


class Results:
    """results.json and table.md of an output folder.

    Args:
        output: the folder.
    """

    def __init__(self, output: Path) -> None:
        self._json, self._markdown = output / "results.json", output / "table.md"
        self._rows: dict[str, Any] = json.loads(self._json.read_text()) if self._json.is_file() else {}

    def of(self, name: str) -> dict[str, Any]:
        """Return the results of a row so far."""
        row: dict[str, Any] = self._rows.get(name, {})
        return row

    def add(self, name: str, **values: Any) -> None:
        """Add results of a row, and write both files."""
        self._rows[name] = {**self.of(name), **values}
        texts = {self._json: json.dumps(self._rows, indent=1), self._markdown: self.table(list(self._rows))}
        for path, text in texts.items():
            with replacing(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")

    def table(self, names: Sequence[str]) -> str:
        """Format rows as a Markdown table."""
        lines = ["| row | val mIoU [%] | difference from plain | seeds | step | memory |", "| --- " * 6 + "|"]
        plain = self.of(PLAIN)
        for name in names:
            row = self.of(name)
            ratios = [f"{row[key] / plain[key]:.2f}" if key in row else "" for key in ("step", "memory")]
            mious = {seed: 100 * value for seed, value in row.get("miou", {}).items()}
            shared = [
                value - 100 * plain["miou"][seed] for seed, value in mious.items() if seed in plain.get("miou", {})
            ]
            mean = f"{statistics.mean(mious.values()):.1f}" if mious else ""
            gain = "" if name == PLAIN or not shared else difference(shared)
            lines.append(f"| {' | '.join([name, mean, gain, str(len(mious)), *ratios])} |")
        return "\n".join(lines)


def difference(values: Sequence[float]) -> str:
    """Format a mean difference with its standard error over the seeds: "+0.7 (0.2)"."""
    error = f" ({statistics.stdev(values) / math.sqrt(len(values)):.1f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):+.1f}{error}"


if __name__ == "__main__":
    end_process(main)
