"""Golden losses: stored losses of three tiny runs, to verify that a refactoring changes nothing.

    python tests/golden.py && git diff --stat tests/data/golden    # from the root; empty: equal bit for bit

Run it on one machine before and after a refactoring. Commit new files only for a change that is meant to change losses.

Every option that the losses depend on is written out below, so that a new default does not change them. Dropout and
color jitter are off, because their random numbers and rounding differ between processors. The learning rate is low:
after a few steps of a usual one, a rounding error moves some activations across the zero of a ReLU, and losses differ
in the second digit.
"""

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from segnet.config import Config, DataConfig, EmaConfig, OptimConfig
from segnet.workflows.train import train

FOLDER = Path(__file__).parent / "data" / "golden"
NUM_STEPS = 20
SPECS: dict[str, dict[str, Any]] = {
    "resnet_vd_deeplabv3plus": {
        "backbone": {"block": "basic", "stem": "deep", "shortcut": "pool", "output_stride": 16},
        "decoder": {
            "name": "deeplabv3plus",
            "output_stride": 16,
            "aspp_channels": 32,
            "low_level_channels": 8,
            "decoder_channels": 32,
            "dropout": 0.0,
        },
    },
    "resnet_deeplabv3_auxiliary": {
        "backbone": {"block": "bottleneck", "stem": "conv7x7", "shortcut": "conv", "output_stride": 8},
        "decoder": {"name": "deeplabv3", "output_stride": 8, "aspp_channels": 32, "dropout": 0.0},
        "auxiliary_head": {"name": "fcn", "weight": 0.4, "stage": 3, "channels": 16, "dropout": 0.0},
        "loss": {"name": "sum", "terms": {"cross_entropy": {"weight": 1.0}, "dice": {"weight": 0.5}}},
    },
    "resnext_ema": {
        "backbone": {
            "block": "bottleneck",
            "stem": "conv7x7",
            "shortcut": "conv",
            "groups": 8,
            "base_width": 16,
            "output_stride": 16,
        },
        "decoder": {
            "name": "deeplabv3plus",
            "output_stride": 16,
            "aspp_channels": 32,
            "low_level_channels": 8,
            "decoder_channels": 32,
            "dropout": 0.0,
        },
        "ema": EmaConfig(decay=0.5),
    },
}


def configuration(name: str) -> Config:
    """The configuration of a golden run: 20 steps of 4 crops of 64 x 64 pixels."""
    spec = dict(SPECS[name])
    backbone = {"name": "resnet", "depths": [1, 1, 1, 1], "base_channels": 16, "stem_channels": 16}
    return Config(
        backbone={**backbone, **spec.pop("backbone")},
        loss=spec.pop("loss", {"name": "cross_entropy"}),
        mean=[0.5] * 3,
        std=[0.5] * 3,
        dataset={"name": "shapes", "num_train": 40, "num_val": 4, "num_test": 1, "size": [64, 64], "seed": 0},
        data=DataConfig(
            batch_size=4,
            crop_size=[64, 64],
            scale_range=[0.75, 1.33],
            flip=0.5,
            color_jitter=0.0,
            category_max_ratio=1.0,
            cutmix=0.0,
            oversample_rare=0.0,
            num_workers=0,
        ),
        optim=OptimConfig(
            name="sgd",
            lr=0.0001,
            scale_lr=False,
            backbone_lr_factor=1.0,
            momentum=0.9,
            weight_decay=1e-4,
            norm_decay=True,
            schedule="poly",
            power=0.9,
            min_lr=0.0,
            warmup_steps=0,
        ),
        trainer={
            "max_steps": NUM_STEPS,
            "accelerator": "cpu",
            "devices": 1,
            "precision": "32-true",
            "log_every_n_steps": 1,
        },
        seed=0,
        worst_images=0,
        **spec,
    )


def measure(name: str) -> dict[str, list[float]]:
    """Train a golden run and return its losses.

    Returns:
        "train/loss" of each step, and "val/loss" at the end, which is that of the EMA weights where there are some.
    """
    with tempfile.TemporaryDirectory() as folder:
        train(configuration(name), Path(folder))
        with open(Path(folder) / "metrics.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return {column: [float(row[column]) for row in rows if row[column]] for column in ("train/loss", "val/loss")}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for run in SPECS:
        losses = measure(run)
        (FOLDER / f"{run}.json").write_text(json.dumps(losses, indent=1) + "\n", encoding="utf-8")
        print(f"{run}: loss {losses['train/loss'][0]:.4f} -> {losses['train/loss'][-1]:.4f}")
