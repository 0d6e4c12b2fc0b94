"""Consistency loss: pseudo-labels, CutMix, padding and gradients by hand; and trainings with unlabeled images."""

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from photos import write_photos
from resumption import assert_equal, configuration
from torch import nn

from segnet.config import Config, ConsistencyConfig, EmaConfig, OptimConfig
from segnet.errors import ConfigError, DataError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.consistency import Consistency, consistency_of, mix, rectangles
from segnet.training.task import SegmentationTask
from segnet.workflows.train import train

IGNORED = 255


def consistency(has_ema=False, **options):
    return Consistency(ConsistencyConfig(**options), IGNORED, has_ema)


class Pixels(nn.Module):
    """A decoder without weights: the features are the logits."""

    align_corners = False

    def forward(self, features):
        return features[0]


def batch(weak, strong=None, is_image=None, boxes=None):
    """Views of images (B, K, H, W) whose pixels are the logits."""
    number, _, height, width = weak.shape
    return {
        "weak": weak,
        "strong": torch.stack([weak, weak], 1) if strong is None else strong,
        "is_image": torch.ones(number, height, width, dtype=torch.bool) if is_image is None else is_image,
        "boxes": torch.zeros(number, 2, 4, dtype=torch.int64) if boxes is None else boxes,
    }


def as_logits(*probabilities):
    """Logits (1, 2, 1, W) of two classes from the probabilities of the second."""
    second = torch.tensor(probabilities)
    return torch.stack([1 - second, second]).log()[None, :, None]


def network(images):
    return [images], images


def test_pseudo_labels_are_the_classes_with_at_least_the_threshold():
    logits = as_logits(0.96, 0.94, 0.03, 0.5, 0.99)
    is_image = torch.tensor([[[True, True, True, True, False]]])
    labels = consistency().pseudo_labels(batch(logits, is_image=is_image), logits, False)
    assert labels.mask.tolist() == [[[1, IGNORED, 0, IGNORED, IGNORED]]]
    assert labels.confident(IGNORED).item() == 0.5  # 2 of the 4 pixels of the image


def test_the_loss_is_the_cross_entropy_of_confident_pixels_over_all_pixels_of_the_image():
    weak = as_logits(0.96, 0.6, 0.03, 0.9, 0.99)
    strong = torch.stack([as_logits(0.8, 0.1, 0.5, 0.5, 0.5), as_logits(0.4, 0.1, 0.9, 0.5, 0.5)], 1)
    is_image = torch.tensor([[[True, True, True, True, False]]])
    views = batch(weak, strong, is_image)
    found = consistency(channel_dropout=0)(network, Pixels(), views, [weak], weak)
    expected = -(math.log(0.8) + math.log(0.5) + math.log(0.4) + math.log(0.1)) / 8
    assert found.loss.item() == pytest.approx(expected, rel=1e-5)
    # the streams' weights: a half for the features, the rest for both strong views
    features = [as_logits(0.7, 0.1, 0.2, 0.5, 0.5)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "dropout2d", lambda feature, p: feature)
        found = consistency()(network, Pixels(), views, features, weak)
    of_features = -(math.log(0.7) + math.log(0.8)) / 4
    assert found.loss.item() == pytest.approx(0.5 * expected + 0.5 * of_features, rel=1e-5)


def test_no_confident_pixel_and_no_pixel_of_an_image_give_zero():
    weak = as_logits(0.6, 0.5).requires_grad_()
    for is_image in (torch.ones(1, 1, 2, dtype=torch.bool), torch.zeros(1, 1, 2, dtype=torch.bool)):
        found = consistency(channel_dropout=0)(network, Pixels(), batch(weak, is_image=is_image), [weak], weak)
        found.loss.backward()
        assert (found.loss.item(), found.confident.item()) == (0, 0)
        assert not weak.grad.any()


def test_padding_has_no_influence():
    weak, other = torch.randn(2, 3, 6, 5) * 9, torch.randn(2, 3, 6, 5) * 9
    is_image = torch.ones(2, 6, 5, dtype=torch.bool)
    is_image[0, 4:] = False
    padded = weak.where(is_image[:, None], other)
    loss = consistency(channel_dropout=0, threshold=0.5)
    results = [loss(network, Pixels(), batch(views, is_image=is_image), [views], views) for views in (weak, padded)]
    assert results[0].loss == results[1].loss > 0
    assert results[0].confident == results[1].confident


def test_cutmix_moves_image_pseudo_label_confidence_and_padding_alike():
    number, height, width = 3, 8, 6
    # The pixels are the logits, so after CutMix each image must have the pseudo-labels of its own pixels.
    weak = torch.randn(number, 2, height, width) * 4
    is_image = torch.rand(number, height, width) > 0.2
    boxes = torch.tensor([[[1, 5, 2, 6], [0, 8, 0, 3]], [[0, 0, 0, 0], [2, 3, 4, 5]], [[0, 4, 0, 6], [3, 8, 1, 2]]])
    inside = rectangles(boxes, height, width)
    assert inside.sum((2, 3)).tolist() == [[16, 24], [0, 1], [24, 5]]
    loss = consistency()
    mixed = loss.pseudo_labels(batch(weak, is_image=is_image), weak, False).mixed(inside)
    views = mix(torch.stack([weak, weak], 1), inside[:, :, None]).flatten(0, 1)
    places = mix(is_image[:, None], inside).flatten(0, 1)
    again = loss.pseudo_labels(batch(views, is_image=places), views, False)
    assert torch.equal(mixed.mask, again.mask)
    assert torch.equal(mixed.is_image, again.is_image)
    expected = torch.where(inside[0, 0], weak[2], weak[0])  # the last image precedes the first
    assert torch.equal(views[0], expected)


@pytest.mark.parametrize("has_teacher", [False, True])
def test_the_gradient_stops_at_the_teacher(has_teacher):
    weak = as_logits(0.96, 0.03).requires_grad_()
    strong = torch.stack([as_logits(0.8, 0.5), as_logits(0.4, 0.9)], 1).requires_grad_()
    loss = consistency(channel_dropout=0)
    scale = nn.Parameter(torch.tensor(2.0))
    if has_teacher:
        loss.teacher = SimpleNamespace(encode=lambda images: [images * scale], decoder=Pixels())
    loss(network, Pixels(), batch(weak, strong), [], weak).loss.backward()
    assert weak.grad is None
    assert scale.grad is None
    assert strong.grad.any()


def test_the_weight_rises_linearly():
    loss = consistency(weight=2.0, warmup_steps=4)
    assert [loss.weight(step) for step in (0, 1, 3, 4, 9)] == [0, 0.5, 1.5, 2, 2]
    assert consistency().weight(0) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": -1}, r"consistency\.weight=-1 must be 0 or more"),
        ({"warmup_steps": -1}, r"consistency\.warmup_steps=-1"),
        ({"threshold": 95}, r"consistency\.threshold=95 must be a probability"),
        ({"channel_dropout": 1.0}, r"consistency\.channel_dropout=1\.0"),
        ({"teacher": "mean"}, r"consistency\.teacher=mean is unknown: choose from model, ema"),
        ({"teacher": "ema"}, r"consistency\.teacher=ema, but the run has no EMA: set ema\.decay"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        consistency(**options)


def test_options_without_unlabeled_images_are_refused():
    assert consistency_of(Config(), IGNORED) is None
    with pytest.raises(ConfigError, match=r"consistency\.weight=2\.0 needs images without masks: add unlabeled=FOLDER"):
        consistency_of(Config(consistency=ConsistencyConfig(weight=2.0)), IGNORED)


# Trainings


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return str(write_photos(tmp_path_factory.mktemp("unlabeled") / "photos", 5))


def semi_supervised(photos, trainer=None, **changes):
    options = ConsistencyConfig(threshold=0.4, batch_size=3)
    return configuration(trainer, **{"unlabeled": [photos], "consistency": options, **changes})


class Killed(BaseException):
    """Simulates SIGKILL: no code of segnet catches it."""


@pytest.mark.parametrize(
    ("teacher", "trainer", "number"),
    [("model", {}, 8), ("ema", {"accumulate_grad_batches": 2}, 9)],
    ids=["model", "ema-accumulated"],
)
def test_a_resumed_run_equals_an_uninterrupted_run(photos, tmp_path, monkeypatch, teacher, trainer, number):
    options = ConsistencyConfig(threshold=0.4, batch_size=3, teacher=teacher, warmup_steps=4)
    config = semi_supervised(photos, trainer, consistency=options, ema=EmaConfig(decay=0.9))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train(config, whole)
    step, calls = SegmentationTask.training_step, []

    def killed(self, *arguments):
        calls.append(self.consistency.teacher)
        if len(calls) == number:
            raise Killed
        return step(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", killed)
        with pytest.raises(Killed):
            train(config, cut)
    assert all((found is not None and not found.training) == (teacher == "ema") for found in calls)
    assert 0 < read_checkpoint(cut / "last.ckpt")["global_step"] < read_checkpoint(whole / "last.ckpt")["global_step"]
    train(replace(config, checkpoint=str(cut / "last.ckpt")), tmp_path / "unused")
    found, expected = (read_checkpoint(folder / "last.ckpt") for folder in (cut, whole))
    for key in ("state_dict", "current_model_state", "averaging_state", "optimizer_states"):
        assert_equal(found[key], expected[key], key)
    assert (cut / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    rows = list(csv.DictReader((whole / "metrics.csv").open()))
    values = [float(row["train/consistency_loss"]) for row in rows if row["train/consistency_loss"]]
    assert any(value > 0 for value in values)


def test_with_ohem_auxiliary_head_and_bf16_the_run_logs_and_reports_confidence(photos, tmp_path, caplog):
    config = semi_supervised(
        photos,
        {"max_epochs": 1},
        loss={"name": "ohem", "min_kept": 50},
        auxiliary_head={"name": "fcn", "channels": 4},
        precision="bf16",
    )
    with caplog.at_level("INFO"):
        train(config, tmp_path / "run")
    assert "unlabeled: 5 images, 3 in a batch; consistency weight 1, threshold 0.4, teacher model" in caplog.messages
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["unlabeled_images"] == 5
    assert 0 < results["confident_pixels"] <= 1
    report = (tmp_path / "run" / "report.html").read_text()
    assert "<dt>unlabeled images</dt><dd>5</dd>" in report
    assert f"<dt>confident pixels</dt><dd>{100 * results['confident_pixels']:.1f} %</dd>" in report


def test_a_budget_counts_the_unlabeled_images(photos, monkeypatch):
    from segnet.data.datamodule import SegmentationDataModule
    from segnet.training.plan import Facts
    from segnet.workflows.probe import probe

    seen = []
    original = SegmentationTask.losses

    def counted(self, images, mask, unlabeled=None):
        seen.append((len(images), len(unlabeled["weak"])))
        return original(self, images, mask, unlabeled)

    monkeypatch.setattr(SegmentationTask, "losses", counted)
    config = semi_supervised(photos, ema=EmaConfig(decay=0.9), optim=OptimConfig(name="sgd", lr=0.1))
    module = SegmentationDataModule(config.dataset, config.data, (0.5,) * 3, 0)
    facts = Facts(num_train=11, num_val=3, pretrained=False)
    ticks = iter(range(10_000))
    probe(config, module, facts, torch.device("cpu"), 1.0, lambda: float(next(ticks)))
    assert seen
    assert {unlabeled for _, unlabeled in seen} == {3}


def test_a_changed_folder_is_reported_when_a_run_resumes(photos, tmp_path, caplog):
    folder = write_photos(tmp_path / "more", 4)
    config = semi_supervised(photos, {"max_epochs": 1}, unlabeled=[str(folder)])
    train(config, tmp_path / "run")
    (folder / "00.png").unlink()
    again = replace(config, checkpoint=str(tmp_path / "run" / "last.ckpt"), trainer={**config.trainer, "max_epochs": 2})
    train(again, tmp_path / "unused")
    assert any("changed dataset: unlabeled: 1 image fewer" in message for message in caplog.messages)


def test_a_missing_folder_is_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="unlabeled=nowhere: no such file or folder"):
        train(semi_supervised("nowhere"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
