"""Distillation: what the student learns from, what it stores, exact resumption, and teachers that do not fit."""

import logging
import os
import signal
from dataclasses import replace

import pytest
import resumption
import torch
from tiny import components, configuration
from torch.nn import functional as F

from segnet.classes import Classes
from segnet.config import EmaConfig
from segnet.errors import CheckpointError, ConfigError, Interrupted
from segnet.inference.predictor import Predictor
from segnet.losses.distillation import ChannelWise
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.specs import complete_specs
from segnet.training.task import SegmentationTask
from segnet.training.teacher import TEACHER_KEY, Distillation
from segnet.workflows.train import train

NAMES = ["background", "disk", "ring", "square", "triangle", "cross"]
CWD = {"name": "cwd"}


def write_teacher(path, names=NAMES, seed=9, **changes):
    """Write a model of two blocks in each stage, with a normalization and running statistics of its own."""
    parts = components()
    parts["backbone"] |= {"depths": [2, 1, 1, 1]}
    model = {**parts, "num_classes": len(names), "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], **changes}
    torch.manual_seed(seed)
    network = SegmentationModel(**model).train()
    for _ in range(3):
        network(torch.randint(0, 256, (4, network.in_channels, 32, 32)))
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    described = {"model": model, "classes": Classes.create(names).to_dict()}
    save_checkpoint({"state_dict": state, "hyper_parameters": described}, path)
    return str(path)


def images():
    return torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))


def student_logits(size=(8, 8)):
    return torch.randn(2, len(NAMES), *size, generator=torch.Generator().manual_seed(3), requires_grad=True)


def test_the_targets_are_the_frozen_teachers_logits_of_its_own_normalization(tmp_path):
    path = write_teacher(tmp_path / "t.ckpt")
    model, _ = load_checkpoint(path)
    normalized = (images().float() / 255 - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / torch.tensor(
        [0.4, 0.5, 0.6]
    )[:, None, None]
    with torch.no_grad():
        targets = model.decoder(model.backbone(normalized))
    distillation = Distillation(CWD, path, Classes.create(NAMES), 3)
    logits = student_logits()
    loss = distillation.loss(images(), logits)
    assert loss.item() == pytest.approx(ChannelWise()(logits, targets).item(), rel=1e-4)
    loss.backward()
    assert logits.grad.abs().sum() > 0
    assert not any(weight.requires_grad for weight in distillation._model.parameters())
    assert not distillation._model.training


def test_reordered_classes_are_mapped_by_name(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    names = [NAMES[index] for index in order]
    path = write_teacher(tmp_path / "t.ckpt")
    reordered = read_checkpoint(path)
    for key in ("weight", "bias"):
        rows = reordered["state_dict"][f"model.decoder.classifier.{key}"]
        reordered["state_dict"][f"model.decoder.classifier.{key}"] = rows[order]
    reordered["hyper_parameters"]["classes"] = Classes.create(names).to_dict()
    save_checkpoint(reordered, tmp_path / "r.ckpt")
    losses = [
        Distillation(CWD, str(tmp_path / name), Classes.create(NAMES), 3).loss(images(), student_logits())
        for name in ("t.ckpt", "r.ckpt")
    ]
    torch.testing.assert_close(*losses)


def test_targets_of_another_output_stride_are_resized(tmp_path):
    parts = components()
    decoder = {"name": "deeplabv3", "aspp_channels": 8, "output_stride": 16}
    path = write_teacher(tmp_path / "t.ckpt", decoder=decoder, backbone=parts["backbone"])
    model, _ = load_checkpoint(path)
    with torch.no_grad():
        small = model.decoder(model.encode(images()))
    assert small.shape[2:] == (2, 2)
    logits = student_logits()
    expected = ChannelWise()(logits, F.interpolate(small, (8, 8), mode="bilinear"))
    found = Distillation(CWD, path, Classes.create(NAMES), 3).loss(images(), logits)
    torch.testing.assert_close(found, expected)


def interrupted(config, folder, monkeypatch, step):
    """Run until a SIGTERM in the step."""
    original = SegmentationTask.training_step

    def ending(self, batch, batch_idx):
        if self.trainer.global_step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", ending)
        with pytest.raises(Interrupted):
            train(config, folder)


@pytest.fixture(scope="module")
def distilled(tmp_path_factory):
    """A configuration with a teacher, EMA and accumulated batches, and its finished run."""
    folder = tmp_path_factory.mktemp("distilled")
    path = write_teacher(folder / "teacher.ckpt")
    trainer = {"max_epochs": 2, "accumulate_grad_batches": 2}
    config = resumption.configuration(trainer, teacher=path, ema=EmaConfig(decay=0.9))
    train(config, folder / "run")
    return config, folder


def test_a_student_stores_nothing_of_its_teacher_but_the_digest(distilled, tmp_path):
    config, folder = distilled
    stored = read_checkpoint(folder / "run" / "last.ckpt")
    train(replace(config, teacher=None), tmp_path / "plain")
    plain = read_checkpoint(tmp_path / "plain" / "last.ckpt")
    assert stored.keys() - plain.keys() == {TEACHER_KEY}
    assert stored["state_dict"].keys() == plain["state_dict"].keys()
    assert stored["optimizer_states"][0]["state"].keys() == plain["optimizer_states"][0]["state"].keys()
    assert any(not torch.equal(stored["state_dict"][name], plain["state_dict"][name]) for name in stored["state_dict"])
    sizes = [(path / "last.ckpt").stat().st_size for path in (folder / "run", tmp_path / "plain")]
    assert abs(sizes[0] - sizes[1]) < 5_000
    header = (folder / "run" / "metrics.csv").read_text().splitlines()[0]
    assert "train/distillation_loss" in header
    assert "distillation" not in (tmp_path / "plain" / "metrics.csv").read_text()


def test_a_student_predicts_without_the_file_of_its_teacher(distilled, tmp_path):
    _, folder = distilled
    moved = (folder / "teacher.ckpt").rename(tmp_path / "away.ckpt")
    try:
        assert Predictor(folder / "run" / "best.ckpt").segment(images()[0].permute(1, 2, 0).numpy()).mask.shape == (
            32,
            32,
        )
    finally:
        moved.rename(folder / "teacher.ckpt")


def test_a_distillation_resumes_exactly_and_refuses_another_teacher(distilled, tmp_path, monkeypatch, caplog):
    config, folder = distilled
    caplog.set_level(logging.INFO, "segnet")
    interrupted(config, tmp_path / "run", monkeypatch, step=3)
    assert f"teacher: {config.teacher}, 0.32 M parameters; " in caplog.text
    assert "distillation=cwd distillation.weight=3 distillation.temperature=4" in caplog.text
    last = tmp_path / "run" / "last.ckpt"
    resumed = replace(config, checkpoint=str(last))
    write_teacher(tmp_path / "other.ckpt", seed=10)
    with pytest.raises(
        CheckpointError, match=r"other\.ckpt: has other weights than the teacher of .*last\.ckpt \(SHA-256"
    ):
        train(replace(resumed, teacher=str(tmp_path / "other.ckpt")), tmp_path / "unused")
    with pytest.raises(CheckpointError, match=r"^teacher=.*gone\.ckpt: no such checkpoint$"):
        train(replace(resumed, teacher=str(tmp_path / "gone.ckpt")), tmp_path / "unused")
    train(resumed, tmp_path / "unused")
    found, expected = (read_checkpoint(path / "last.ckpt") for path in (tmp_path / "run", folder / "run"))
    for key in ("state_dict", "optimizer_states", "current_model_state", TEACHER_KEY):
        resumption.assert_equal(found[key], expected[key], key)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (folder / "run" / "metrics.csv").read_text()


def test_the_same_weights_in_another_file_have_the_same_digest(tmp_path):
    digests = [
        Distillation(CWD, write_teacher(tmp_path / name, seed=seed), Classes.create(NAMES), 3).digest
        for name, seed in (("a.ckpt", 1), ("b.ckpt", 1), ("c.ckpt", 2))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("options", "classes", "message"),
    [
        (
            {"names": [*NAMES[:5], "star"]},
            NAMES,
            r"only in the dataset: cross; only in the teacher: star\): choose a te",
        ),
        ({"names": NAMES[:5]}, NAMES, r"only in the dataset: cross; only in the teacher: none"),
        ({"value_range": [0, 4095]}, NAMES, r"value_range=\[0\.0, 4095\.0\], and this run has null: use the same"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_one_line(options, classes, message, tmp_path):
    path = write_teacher(tmp_path / "t.ckpt", **options)
    with pytest.raises(ConfigError, match=message) as caught:
        Distillation(CWD, path, Classes.create(classes), 3)
    assert str(caught.value).startswith(f"teacher={path}: ")
    assert "\n" not in str(caught.value)


def test_a_teacher_of_other_bands_is_refused(tmp_path):
    parts = components()
    parts["backbone"] |= {"in_channels": 5}
    path = write_teacher(tmp_path / "t.ckpt", backbone=parts["backbone"], mean=[0.5] * 5, std=[0.5] * 5)
    with pytest.raises(ConfigError, match=r"takes images of 5 channels, and backbone\.in_channels=3"):
        Distillation(CWD, path, Classes.create(NAMES), 3)


def test_a_distillation_without_a_teacher_is_refused_before_writing(tmp_path):
    with pytest.raises(ConfigError, match=r"distillation=dist needs a teacher: set teacher=best\.ckpt"):
        train(configuration(distillation={"name": "dist"}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_teacher_alone_means_channel_wise_distillation():
    assert complete_specs(configuration(teacher="a.ckpt")).distillation == {
        "name": "cwd",
        "weight": 3.0,
        "temperature": 4.0,
    }
    weighted = complete_specs(configuration(teacher="a.ckpt", distillation={"weight": 1.0}))
    assert weighted.distillation == {"name": "cwd", "weight": 1.0, "temperature": 4.0}
    assert complete_specs(configuration()).distillation is None
