"""Precisions and devices in the words of Lightning and of torch."""

import pytest
import torch
from tiny import CPU, configuration

from segnet.config import PRECISIONS, Config
from segnet.errors import ConfigError
from segnet.system import machine
from segnet.trainer_arguments import LIGHTNING_PRECISIONS
from segnet.training.trainer_options import device_type, precision_option
from segnet.workflows.train import train


@pytest.mark.parametrize("options", [{"trainer": {"precision": "16-mixed"}}, {"precision": "fp16"}])
def test_fp16_on_a_cpu_is_refused(options, tmp_path):
    config = configuration(**{**options, "trainer": {**CPU, "max_epochs": 1, **options.get("trainer", {})}})
    with pytest.raises(ConfigError, match="precision=fp16 needs a GPU: use float32 or bf16 on a CPU"):
        train(config, tmp_path)


@pytest.mark.parametrize(
    ("precision", "options", "expected"),
    [
        ("float32", {}, "32-true"),
        ("bf16", {}, "bf16-mixed"),
        ("fp16", {"accelerator": "gpu"}, "16-mixed"),
        ("float32", {"precision": 32}, "32-true"),
        ("float32", {"precision": "bf16"}, "bf16-mixed"),
        ("bf16", {"precision": "bf16-mixed"}, "bf16-mixed"),
    ],
)
def test_precision_is_translated_for_lightning(precision, options, expected, monkeypatch):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: True)
    assert precision_option(Config(precision=precision, trainer=options)) == {"precision": expected}


@pytest.mark.parametrize(
    ("accelerator", "present", "device"),
    [
        ("auto", "cuda", "cuda"),
        ("auto", "mps", "mps"),
        ("auto", "", "cpu"),
        ("gpu", "cuda", "cuda"),
        ("gpu", "mps", "mps"),
        ("gpu", "", "cuda"),  # Lightning says that there is none
        ("cpu", "cuda", "cpu"),
        ("cuda", "cuda", "cuda"),
    ],
)
def test_the_device_type_is_torchs(accelerator, present, device, monkeypatch):
    for name, module in (("cuda", torch.cuda), ("mps", torch.backends.mps)):
        monkeypatch.setattr(module, "is_available", lambda name=name: name == present)
    assert device_type({"accelerator": accelerator}) == device
    if accelerator == "auto":
        assert device_type({}) == device


def test_every_precision_has_a_lightning_name():
    assert set(LIGHTNING_PRECISIONS) == set(PRECISIONS)


def test_bf16_on_a_cpu_without_bf16_instructions_is_float32(monkeypatch):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    assert precision_option(Config(precision="bf16", trainer=CPU)) == {"precision": "32-true"}
    assert precision_option(Config(precision="bf16", trainer={"accelerator": "gpu"})) == {"precision": "bf16-mixed"}


def test_contradicting_and_unknown_precisions_are_refused():
    with pytest.raises(ConfigError, match=r"precision=bf16 contradicts trainer\.precision=32-true: leave out one"):
        precision_option(Config(precision="bf16", trainer={"precision": "32-true"}))
    with pytest.raises(ConfigError, match="precision=half is unknown: choose from float32, bf16, fp16"):
        precision_option(Config(precision="half"))
