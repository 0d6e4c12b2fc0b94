"""The comparison with and without unlabeled images: subsets, commands and the table; the trainings take hours."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from semi_supervised import CPU_OPTIONS, KINDS, Run, command, scores, table, write_subset

from segnet.cli.composition import composed
from segnet.config import Config


def camvid(folder):
    """Write ten train and two val images of 8 x 6 pixels."""
    for split, count in (("train", 10), ("val", 2)):
        for name in (split, f"{split}annot"):
            (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(np.full((6, 8, 3), index, np.uint8)).save(folder / split / f"{index:02d}.jpg")
            Image.fromarray(np.full((6, 8), index, np.uint8)).save(folder / f"{split}annot" / f"{index:02d}.png")
    return folder


def test_every_nth_image_keeps_its_mask_and_the_others_are_unlabeled(tmp_path):
    data = tmp_path / "data"
    assert write_subset(camvid(tmp_path / "camvid"), data, 4, 4) == 3
    names = {path.relative_to(data).as_posix() for path in data.rglob("*.png")}
    labeled, others = ["00", "04", "08"], ["01", "02", "03", "05", "06", "07", "09"]
    assert names == {
        *(f"{folder}/{name}.png" for folder in ("train", "trainannot") for name in labeled),
        *(f"{folder}/{name}.png" for folder in ("val", "valannot") for name in ("00", "01")),
        *(f"unlabeled/{name}.png" for name in others),
    }
    with Image.open(data / "trainannot" / "08.png") as mask:
        assert mask.size == (4, 3)
        assert (np.asarray(mask) == 8).all()


def test_both_kinds_differ_by_the_unlabeled_images_alone(tmp_path):
    configs = []
    for kind in KINDS:
        words = command(Run(46, kind, 1), tmp_path, tmp_path, CPU_OPTIONS, 100)
        configs.append(composed("train", Config, [word for word in words[4:] if not word.startswith("hydra.")]))
    supervised, semi = configs
    assert (supervised.unlabeled, semi.unlabeled) == (None, [str(tmp_path / "unlabeled")])
    semi.unlabeled = None
    assert supervised == semi
    assert (semi.seed, semi.checkpoint, semi.trainer["max_steps"]) == (1, "auto", 100)


def test_the_table_has_means_and_differences_of_seeds_that_both_have(tmp_path):
    runs = [Run(46, kind, seed) for seed in (0, 1) for kind in KINDS]
    for run, miou in zip(runs[:3], (0.30, 0.35, 0.32), strict=True):
        run.folder(tmp_path).mkdir(parents=True)
        (run.folder(tmp_path) / "results.json").write_text(json.dumps({"miou": miou}))
    found = scores(runs, tmp_path)
    assert table(found)[2] == "| 46 | 31.0 (30.0, 32.0) | 35.0 (35.0) | +5.0 |"
