"""Do images without masks help? CamVid with few masks, supervised against semi-supervised, with the same labeled steps.

    python benchmarks/semi_supervised.py PATH/TO/CamVid OUTPUT                # CPU: half size, 32 base channels
    python benchmarks/semi_supervised.py PATH/TO/CamVid OUTPUT --width 480 --experiment camvid_semi_supervised   # GPU
    python benchmarks/semi_supervised.py PATH/TO/CamVid OUTPUT --every 1 --kinds supervised    # the bound: all masks

CamVid is in the layout of the SegNet tutorial. Every 8th (46) and every 4th (92) train image keeps its mask; the others
are the unlabeled images. Runs are made one after another, all pairs of a seed first. Repeat the command to resume: it
skips finished runs. Results: OUTPUT/results.json, and a table on stdout after each run.
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

KINDS = ("supervised", "semi-supervised")
# Class weights and optimizer of conf/experiment/camvid_resnet18_vd.yaml, and a model of half its width.
CPU_OPTIONS = [
    *["backbone=resnet18_vd", "backbone.base_channels=32", "backbone.stem_channels=32", "backbone_weights=null"],
    *["decoder.aspp_channels=64", "decoder.decoder_channels=64", "decoder.low_level_channels=24"],
    *["data.batch_size=4", "data.crop_size=[96,128]", "data.cache=memory", "data.num_workers=0"],
    "loss.class_weight=[2.367,2.072,5.794,1.826,3.936,2.956,5.616,5.658,3.582,6.165,6.626]",
    *["optim.name=adamw", "optim.lr=0.001", "optim.batch_size=4", "optim.weight_decay=0.05", "optim.norm_decay=false"],
    *["optim.schedule=cosine", "optim.warmup_steps=50", "ema.decay=0.98", "worst_images=0", "trainer.accelerator=cpu"],
]


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        masks: number of masks.
        kind: one of `KINDS`.
        seed: seed of the run.
    """

    masks: int
    kind: str
    seed: int

    def folder(self, output: Path) -> Path:
        """Return the run folder; each has a parent of its own, in which checkpoint=auto searches."""
        return output / f"{self.masks}-{self.kind}-{self.seed}" / "run"


def write_subset(camvid: Path, target: Path, every: int, width: int) -> int:
    """Write a dataset of every n-th train mask, with the other train images in ``unlabeled/``; return its masks.

    Args:
        width: width of the images [pixels]; images are averaged over areas, masks take the nearest pixel.
    """
    for split in ("train", "val"):
        for index, image in enumerate(sorted((camvid / split).iterdir())):
            is_labeled = split == "val" or index % every == 0
            folder = target / (split if is_labeled else "unlabeled")
            _resize(image, folder / f"{image.stem}.png", width, Image.Resampling.BOX)
            if is_labeled:
                mask = camvid / f"{split}annot" / f"{image.stem}.png"
                _resize(mask, target / f"{split}annot" / mask.name, width, Image.Resampling.NEAREST)
    return len(list((target / "train").iterdir()))


def _resize(source: Path, target: Path, width: int, filter: Image.Resampling) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.resize((width, round(image.height * width / image.width)), filter).save(target)


def command(run: Run, data: Path, output: Path, options: Sequence[str], steps: int | None) -> list[str]:
    """Return the command of a run; it resumes the run if there is a checkpoint."""
    length = [f"trainer.max_steps={steps}", f"trainer.val_check_interval={max(1, steps // 4)}"] if steps else []
    unlabeled = [f"unlabeled={data / 'unlabeled'}"] if run.kind == KINDS[1] else []
    own = ["dataset=camvid", f"dataset.root={data}", f"seed={run.seed}", f"hydra.run.dir={run.folder(output)}"]
    return [sys.executable, "-m", "segnet", "train", *options, *length, *own, *unlabeled, "checkpoint=auto"]


def scores(runs: Iterable[Run], output: Path) -> dict[Run, float]:
    """Return the val mIoU of each finished run [%]."""
    files = {run: run.folder(output) / "results.json" for run in runs}
    return {run: 100 * json.loads(file.read_text())["miou"] for run, file in files.items() if file.exists()}


def table(found: dict[Run, float]) -> list[str]:
    """Format the mean and the single seeds of each number of masks; the difference is that of seeds that both have."""
    lines = ["| masks | " + " | ".join(KINDS) + " | difference |", "| --- | --- | --- | --- |"]
    for masks in sorted({run.masks for run in found}):
        cells = []
        for kind in KINDS:
            values = [value for run, value in sorted(found.items(), key=str) if (run.masks, run.kind) == (masks, kind)]
            single = ", ".join(f"{value:.1f}" for value in values)
            cells.append(f"{statistics.mean(values):.1f} ({single})" if values else "-")
        gains = [
            value - found[other]
            for run, value in found.items()
            if (run.masks, run.kind) == (masks, KINDS[1]) and (other := Run(masks, KINDS[0], run.seed)) in found
        ]
        cells.append(f"{statistics.mean(gains):+.1f}" if gains else "-")
        lines.append(f"| {masks} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Write the datasets, and make the runs that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--every", type=int, nargs="+", default=[8, 4], help="every n-th train image keeps its mask")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--width", type=int, default=240, help="width of the images [pixels]")
    parser.add_argument("--steps", type=int, help="labeled steps; with --experiment, that of the experiment")
    parser.add_argument("--experiment", help="recipe in conf/experiment instead of the options for a CPU")
    parser.add_argument("--options", nargs="*", default=[], help="further options of every run")
    parser.add_argument("--semi", nargs="*", default=[], help="further options of the semi-supervised runs")
    given = parser.parse_args()
    output = given.output.absolute()
    steps = given.steps or (None if given.experiment else 2000)
    recipe = [f"experiment={given.experiment}"] if given.experiment else CPU_OPTIONS
    folders: dict[int, Path] = {}
    for every in given.every:
        data = output / f"data-{given.width}-{every}"
        folders[write_subset(given.camvid, data, every, given.width)] = data
    runs = [Run(masks, kind, seed) for seed in given.seeds for masks in folders for kind in given.kinds]
    for run in runs:
        if not (run.folder(output) / "results.json").exists():
            options = [*recipe, *given.options, *(given.semi if run.kind == KINDS[1] else [])]
            subprocess.run(command(run, folders[run.masks], output, options, steps), check=True)
        found = scores(runs, output)
        records = [{"masks": done.masks, "kind": done.kind, "seed": done.seed, "miou": found[done]} for done in found]
        (output / "results.json").write_text(json.dumps(records, indent=1) + "\n")
        print("\n".join(table(found)), flush=True)


if __name__ == "__main__":
    main()
