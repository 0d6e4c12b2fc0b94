"""The simulated labeling: features of small images, methods of `segnet rank`, curves that are kept, and the table."""

import json

import active_learning as benchmark
import numpy as np
import pytest
import torch
from active_learning import RANDOM, Data, Results, images_for, on_grid, uniform
from predicting import untrained
from small_datasets import write
from torch.nn import functional as F

from segnet.classes import Classes
from segnet.errors import ConfigError

NUM_TRAIN, CLASSES = 12, 3


def stages(images):
    """Two stages: means of 4 x 4 and 8 x 8 pixels."""
    return [F.avg_pool2d(images, side) for side in (4, 8)]


@pytest.fixture
def data() -> Data:
    """Images whose features tell their classes, with a description of their number and one more class in each third."""
    random = np.random.default_rng(0)
    cells = np.stack([random.integers(0, 1 + index % CLASSES, (2, 3)) for index in range(NUM_TRAIN + 4)])
    masks = cells.repeat(benchmark.GRID, axis=1).repeat(benchmark.GRID, axis=2).astype(np.uint8)
    features = np.eye(CLASSES, dtype=np.float32)[cells].reshape(len(cells), 1, 6, CLASSES).repeat(2, axis=1)
    descriptions = np.arange(len(cells), dtype=np.float32)[:, None]
    return Data(features, descriptions, masks, NUM_TRAIN, CLASSES, 255)


def test_features_of_the_mirror_image_are_mirrored_back():
    image = np.random.default_rng(0).integers(0, 256, (2 * benchmark.GRID, 3 * benchmark.GRID, 3), np.uint8)
    found, description = on_grid(stages, image)
    assert (found.shape, description.shape) == ((2, 6, 6), (3,))
    torch.testing.assert_close(found[0], found[1])  # means have no side
    found, _ = on_grid(lambda images: [torch.cumsum(one, 3) for one in stages(images)], image)  # sums from the left
    assert (found[0].view(2, 3, 6).diff(dim=1) > 0).all()
    assert (found[1].view(2, 3, 6).diff(dim=1) < 0).all()


def test_a_fit_learns_the_classes_of_its_images_alone(data):
    assert benchmark.miou(benchmark.fit(data, range(NUM_TRAIN), 0, 60), data) > 0.85
    one_class = [index for index in range(NUM_TRAIN) if index % CLASSES == 0]
    assert benchmark.miou(benchmark.fit(data, one_class, 0, 60), data) < 0.5


@pytest.mark.parametrize("method", benchmark.RANK_METHODS)
def test_a_method_of_segnet_rank_chooses_unlabeled_images(data, method):
    head = benchmark.fit(data, [0, 3], 0, 20)
    chosen = benchmark.chosen_by(method, head, data, [0, 3], 4, seed=1)
    assert len(set(chosen)) == 4
    assert not set(chosen) & {0, 3}
    assert max(chosen) < NUM_TRAIN
    if method == "diversity":
        assert chosen[:2] == [11, 7]  # the last one, then the middle of 3 to 11
    if method in ("entropy", "margin"):  # unknown classes first
        assert all(index % CLASSES for index in chosen)


def test_curves_start_with_the_same_images_and_are_kept(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "extract", lambda checkpoint, root, path: data)
    arguments = ["--camvid", "none", "--output", str(tmp_path), "--sizes", "2", "4", "6", "--steps", "20"]
    arguments += ["--methods", "random", "uniform", "margin+diversity"]
    assert benchmark.main([*arguments, "--seeds", "0"]) == 0
    found = json.loads((tmp_path / "results.json").read_text())
    curves = {name: seeds["0"] for name, seeds in found["curves"].items()}
    assert [len(set(one["labeled"])) for one in curves.values()] == [6, 6, 6]
    assert curves["random"]["labeled"][:2] == curves["margin+diversity"]["labeled"][:2]
    assert curves["random"]["miou"][0] == curves["margin+diversity"]["miou"][0]
    monkeypatch.setattr(benchmark, "curve", lambda *arguments: ([0.1, 0.2, 0.3], [0]))
    assert benchmark.main([*arguments, "--seeds", "0", "1"]) == 0
    again = json.loads((tmp_path / "results.json").read_text())["curves"]
    assert again["random"]["0"] == curves["random"]
    assert again["random"]["1"]["miou"] == [0.1, 0.2, 0.3]
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"results\.json: was made with other --sizes or --steps"):
        benchmark.main([*arguments, "--steps", "21"])


def test_features_of_a_dataset_are_kept(tmp_path):
    write("camvid", tmp_path / "camvid")
    checkpoint = untrained(tmp_path / "model.ckpt", Classes.create(["road", "tree", "sky"]))
    found = benchmark.extract(str(checkpoint), str(tmp_path / "camvid"), tmp_path / "features.npz")
    again = benchmark.extract(None, "none", tmp_path / "features.npz")
    assert (found.num_train, found.num_classes) == (3, 11)
    assert found.features.shape[:3] == (5, 2, 20)  # three train and two val images of 40 x 32
    assert np.isfinite(found.features).all()
    assert found.features.std() > 0.1
    np.testing.assert_array_equal(found.features, again.features)


def test_uniform_takes_every_kth_image():
    for seed in range(5):
        chosen = uniform(5, 50, seed)
        assert set(np.diff(chosen)) == {10}
        assert 0 <= chosen[0] < 10
    assert sorted(uniform(50, 50, 3)) == list(range(50))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.5, 0.7, 0.9], 15), ([0.7, 0.8, 0.9], 10), ([0.2, 0.3, 0.5], None), ([0.7, 0.5, 0.7], 30)],
)
def test_images_for_a_goal_are_interpolated(scores, expected):
    assert images_for(0.6, [10, 20, 40], scores) == (expected if expected is None else pytest.approx(expected))


def test_the_table_has_means_goals_and_differences(tmp_path):
    results = Results(tmp_path, [10, 20], 5)
    results.record["full"] = {"0": 0.8, "1": 0.8}
    results.record["curves"] = {
        RANDOM: {"0": {"miou": [0.5, 0.7]}, "1": {"miou": [0.6, 0.74]}},
        "diversity": {"0": {"miou": [0.6, 0.8]}, "1": {"miou": [0.66, 0.84]}},
    }
    lines = results.table().splitlines()
    assert lines[0] == "| method | 10 | 20 | images for 95 % | against random |"
    assert lines[2] == "| random | 55.0 ± 7.1 | 72.0 ± 2.8 | > 20 | 0.0 ± 0.0 |"
    assert lines[3] == "| diversity | 63.0 ± 4.2 | 82.0 ± 2.8 | 17 | 9.0 ± 1.4 |"
    assert lines[-1] == "With all images: 80.0 ± 0.0 %."
