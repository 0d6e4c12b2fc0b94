"""The table of training options: rows, half-size images, paired differences and results that are kept."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.cli.composition import composed
from segnet.components import build
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.losses import LOSSES
from segnet.training.specs import complete_specs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import accuracy_options

    yield accuracy_options
    sys.modules.pop("accuracy_options", None)


def test_every_row_composes_with_the_recipe(benchmark, tmp_path):
    for row in benchmark.chosen_rows(benchmark.ROWS, ["own: data.flip=0"], ["rmi+cwd"]).values():
        options = ["experiment=camvid_resnet18_vd", "dataset.root=x", *benchmark.SMALL]
        config = complete_specs(composed("train", Config, [*options, *benchmark.located(row, tmp_path)]))
        assert config.data.crop_size == [128, 160]
        build("loss", LOSSES, config.loss, ignore_index=255, num_classes=11)
        assert (config.teacher is None) == (config.distillation is None)


def test_rows_are_added_and_summed_and_plain_comes_first(benchmark):
    rows = benchmark.chosen_rows(["dist"], ["own: data.flip=0 seed=3"], ["cutmix+own"])
    assert list(rows) == ["plain", "dist", "own", "cutmix+own"]
    assert rows["cutmix+own"] == ["data.cutmix=0.5", "data.flip=0", "seed=3"]
    with pytest.raises(ConfigError, match="rmj: no such row: choose from plain"):
        benchmark.chosen_rows(["rmj"], [], [])


def test_images_and_masks_are_halved(benchmark, tmp_path):
    mask = np.random.default_rng(0).integers(0, 12, (36, 48)).astype(np.uint8)
    for split in ("train", "val"):
        for folder, name, pixels in ((split, "a.jpg", np.dstack([mask * 20] * 3)), (f"{split}annot", "a.png", mask)):
            (tmp_path / "in" / folder).mkdir(parents=True)
            Image.fromarray(pixels).save(tmp_path / "in" / folder / name)
        (tmp_path / "in" / f"{split}.txt").write_text("/SegNet/a.jpg /SegNet/a.png\n")
    benchmark.halve(tmp_path / "in", tmp_path / "out")
    with Image.open(tmp_path / "out" / "val" / "a.jpg") as image, Image.open(tmp_path / "out/valannot/a.png") as halved:
        assert image.size == halved.size == (24, 18)
        assert set(np.unique(np.asarray(halved))) <= set(range(12))
    assert (tmp_path / "out" / "train.txt").read_text() == "/SegNet/a.jpg /SegNet/a.png\n"


def test_the_table_pairs_the_seeds_and_survives_a_restart(benchmark, tmp_path):
    results = benchmark.Results(tmp_path)
    results.add("plain", step=0.5, memory=1000, miou={"0": 0.40, "1": 0.50, "2": 0.60})
    results.add("rmi", step=0.75, memory=1100, miou={"0": 0.41, "1": 0.53})
    lines = benchmark.Results(tmp_path).table(["plain", "rmi", "cwd"]).splitlines()
    assert lines[2] == "| plain | 50.0 |  | 3 | 1.00 | 1.00 |"
    assert lines[3] == "| rmi | 47.0 | +2.0 (1.0) | 2 | 1.50 | 1.10 |"
    assert lines[4] == "| cwd |  |  | 0 |  |  |"
    assert (tmp_path / "table.md").read_text().splitlines() == lines[:4]


def test_a_finished_run_is_not_repeated(benchmark, tmp_path):
    (tmp_path / "results.json").write_text('{"miou": 0.25}')
    assert benchmark.train(tmp_path, ["no=option"]) == 0.25
