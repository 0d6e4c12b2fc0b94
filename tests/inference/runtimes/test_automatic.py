"""precision=auto chooses by speed and agreement, says so once, and remembers it by model and size."""

import json

import pytest
import torch

from segnet.classes import Classes
from segnet.errors import MachineError
from segnet.inference.runtimes import automatic, open_runtime
from segnet.inference.runtimes.automatic import AutomaticRuntime, lower_precisions
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.models.temperature import Temperature

CLASSES = Classes.create(["a", "b"])


class Fake(TorchRuntime):
    """A runtime whose logits have class b in a number of pixels of an image of 10 x 20."""

    def __init__(self, precision: str, num_b: int):
        self.precision, self.num_b = precision, num_b
        self.classes, self.channels, self.value_range = CLASSES, 3, None
        self.device, self.has_probabilities, self.temperature = torch.device("cpu"), True, Temperature()

    def __call__(self, images):
        b = torch.zeros(images.shape[0], *images.shape[2:])
        b.view(-1)[: self.num_b] = 1
        return torch.stack([1 - b, b], 1)


@pytest.fixture
def automatic_of(tmp_path, monkeypatch):
    """Build a runtime whose lower precisions have a number of pixels of class b and a speed; float32 has none."""
    path = tmp_path / "best.ckpt"
    path.write_bytes(b"weights")
    opened = []

    def build(**lower: tuple[int, float]):
        def open_precision(runtime, precision):
            opened.append((runtime, precision))
            if lower.get(precision) == "fails":
                raise MachineError("no such precision")
            return Fake(precision, 0 if precision == "float32" else lower[precision][0])

        monkeypatch.setattr(automatic, "lower_precisions", lambda name, device: tuple(lower))
        monkeypatch.setattr(automatic, "_speed", lambda exact, other, images: lower[other.precision][1])
        return AutomaticRuntime(open_precision, None, path, tmp_path / "choices")

    build.opened, build.path, build.folder = opened, path, tmp_path / "choices"
    return build


def images(height: int = 10, width: int = 20) -> torch.Tensor:
    return torch.zeros(1, 3, height, width, dtype=torch.uint8)


def chosen(runtime, caplog, size=(10, 20)) -> str:
    caplog.clear()
    with caplog.at_level("INFO", logger="segnet"):
        runtime(images(*size))
        runtime(images(*size))
    (message,) = caplog.messages
    return message.removeprefix("precision=auto: ")


@pytest.mark.parametrize(
    ("lower", "precision"),
    [
        ({"bf16": (1, 2.0)}, "bf16"),
        ({"bf16": (2, 2.0)}, "float32"),  # 99 % of the pixels
        ({"bf16": (0, 1.05)}, "float32"),
        ({"fp16": (0, 1.5), "bf16": (0, 2.0)}, "bf16"),
        ({"fp16": (0, 3.0), "bf16": (0, 2.0)}, "fp16"),
        ({"fp16": "fails", "bf16": (0, 2.0)}, "bf16"),
        ({}, "float32"),
    ],
)
def test_the_fastest_precision_that_agrees_is_chosen(automatic_of, caplog, lower, precision):
    runtime = automatic_of(**lower)
    message = chosen(runtime, caplog)
    assert message.startswith(precision)
    assert [run.precision for run in runtime._runtimes.values()] == list(dict.fromkeys(["float32", precision]))
    num_b = 0 if precision == "float32" else lower[precision][0]
    assert runtime(images()).argmax(1).sum() == num_b


def test_the_reason_names_speed_and_agreement(automatic_of, caplog):
    message = chosen(automatic_of(bf16=(1, 2.0)), caplog)
    assert message == "bf16 for 20 x 10 (bf16 is 2.0 times as fast, 99.50 % equal pixels; needed: 1.1 times, 99.5 %)"


def test_the_choice_is_remembered_by_size_and_content(automatic_of, caplog):
    assert "measured earlier" not in chosen(automatic_of(bf16=(0, 2.0)), caplog)
    again = automatic_of(bf16=(9, 0.1))  # would not be chosen
    assert chosen(again, caplog).endswith("(measured earlier)")
    assert again(images()).argmax(1).sum() == 9
    assert chosen(again, caplog, (40, 40)).startswith("float32")
    automatic_of.path.write_bytes(b"other weights")
    assert chosen(automatic_of(bf16=(9, 0.1)), caplog).startswith("float32")


@pytest.mark.parametrize("content", ["", "[]", '{"8": 3}', '{"8": {"precision": "int4"}}'])
def test_a_damaged_store_is_measured_again(automatic_of, caplog, content):
    automatic_of(bf16=(0, 2.0))(images())
    (store,) = automatic_of.folder.iterdir()
    assert list(json.loads(store.read_text())) == ["8"]
    store.write_text(content)
    assert chosen(automatic_of(bf16=(9, 2.0)), caplog).startswith("float32")
    assert json.loads(store.read_text())["8"]["precision"] == "float32"


def test_a_store_that_cannot_be_written_is_a_warning(automatic_of, caplog):
    automatic_of.folder.write_text("a file")
    runtime = automatic_of(bf16=(0, 2.0))
    runtime(images())
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "bf16" in runtime._runtimes


def test_lower_precisions_of_runtimes(monkeypatch):
    monkeypatch.setattr(automatic, "cpu_has_bf16", lambda: True)
    assert lower_precisions("torch", "cpu") == lower_precisions("openvino", "cpu") == ("bf16",)
    assert lower_precisions("", "cpu") == lower_precisions("torch", "mps") == ()
    assert lower_precisions("torch", "cuda") == ("fp16", "bf16")
    monkeypatch.setattr(automatic, "cpu_has_bf16", lambda: False)
    assert lower_precisions("torch", "cpu") == ()


def test_a_checkpoint_runs_in_the_chosen_precision(exports, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(automatic, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(automatic, "EQUAL_PIXELS", 0.9)
    monkeypatch.setattr(automatic, "_speed", lambda exact, other, images: 2.0)
    monkeypatch.setattr("segnet.inference.runtimes.pytorch.usable_precision", lambda precision, device: precision)
    image = torch.randint(0, 256, (1, 3, 32, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    logits = open_runtime(exports.checkpoint, "cpu", "torch", "auto")(image)
    assert torch.equal(logits, open_runtime(exports.checkpoint, "cpu", "torch", "bf16")(image))
    assert len(list((tmp_path / "segnet" / "precisions").iterdir())) == 1
