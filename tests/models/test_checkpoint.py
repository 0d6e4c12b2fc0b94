import copy
import os
import subprocess
from pathlib import Path

import pytest
import torch
from tiny import components
from warm_python import WARM_PYTHON

from segnet.classes import Classes
from segnet.errors import CheckpointError, MachineError
from segnet.models.checkpoint import load_checkpoint, read_checkpoint, save_checkpoint, store_temperature
from segnet.models.segmentation_model import SegmentationModel

SPEC = {
    **components(),
    "num_classes": 3,
    "mean": [0.1, 0.2, 0.3],
    "std": [0.5, 0.6, 0.7],
}
CLASSES = Classes.create(["sky", "road", "tree"], [[0, 0, 255], [90, 90, 90], [0, 128, 0]])


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    model = SegmentationModel(**SPEC)
    model(torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8))  # gives it non-default running statistics
    return model.eval()


@pytest.fixture
def content(model) -> dict:
    """Return a minimal checkpoint as Lightning passes it."""
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    return {
        "state_dict": {**weights, "confusion.counts": torch.zeros(3, 3, dtype=torch.int64)},
        "hyper_parameters": {"model": copy.deepcopy(SPEC), "classes": CLASSES.to_dict(), "loss": {}, "optim": {}},
        "epoch": 3,
    }


class Payload:
    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self):
        return (os.system, (f"touch {self.sentinel}",))


@torch.inference_mode()
def test_a_saved_checkpoint_loads_unchanged(tmp_path, content, model):
    save_checkpoint(content, tmp_path / "a.ckpt")
    loaded, classes = load_checkpoint(tmp_path / "a.ckpt")
    assert classes == CLASSES
    assert not loaded.training
    images = torch.randint(0, 256, (1, 3, 33, 47), dtype=torch.uint8)
    assert torch.equal(loaded(images), model(images))
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_a_failed_save_keeps_the_previous_file_and_leaves_no_temporary_file(tmp_path, content, monkeypatch):
    path = tmp_path / "a.ckpt"
    save_checkpoint(content, path)
    before = path.read_bytes()

    def full(_: object, target: Path) -> None:
        Path(target).write_bytes(before[:1000])
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nmore")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(MachineError, match=r"a\.ckpt: cannot be written, is the disk full\?") as error:
        save_checkpoint(content, path)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.slow
def test_a_process_killed_while_saving_leaves_a_complete_checkpoint(tmp_path, content):
    path = tmp_path / "a.ckpt"
    save_checkpoint(content, path)
    code = (
        "import sys; from segnet.models.checkpoint import *\n"
        "content = read_checkpoint(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "while True: save_checkpoint(content, sys.argv[1])"
    )
    for attempt in range(5):
        process = subprocess.Popen([*WARM_PYTHON, "-c", code, str(path)], stdout=subprocess.PIPE)
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05 + 0.013 * attempt)
        process.kill()
        process.communicate()
        load_checkpoint(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_checkpoint_with_malicious_code_is_refused_and_never_runs(tmp_path, content, legacy):
    sentinel, path = tmp_path / "sentinel", tmp_path / "evil.ckpt"
    content["callbacks"] = {"x": Payload(sentinel)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert not sentinel.exists()
    torch.load(path, weights_only=False)
    assert sentinel.exists()  # the payload works outside segnet


@pytest.mark.parametrize(
    "content", [b"", b"hello, I am a text\n", bytes(1000), b"PK\x03\x04 no archive", b"\x89PNG\r\n\x1a\n"]
)
def test_other_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "a.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a checkpoint") as error:
        load_checkpoint(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_a_truncated_file_is_refused(tmp_path, content):
    path = tmp_path / "a.ckpt"
    save_checkpoint(content, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 15):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)


def test_a_missing_file_and_a_folder_have_different_errors(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("other", [{"weight": torch.zeros(2)}, [1, 2], torch.zeros(3), {"hyper_parameters": 5}])
def test_checkpoints_of_other_programs_are_refused(tmp_path, other):
    torch.save(other, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="not a checkpoint of segnet"):
        read_checkpoint(tmp_path / "a.pth")


def tampered_num_classes(content):
    content["hyper_parameters"]["model"]["num_classes"] = 4


def tampered_missing_weight(content):
    del content["state_dict"]["model.decoder.classifier.weight"]


def tampered_unknown_option(content):
    content["hyper_parameters"]["model"]["backbone"]["color"] = 1


def tampered_unknown_component(content):
    content["hyper_parameters"]["model"]["decoder"]["name"] = "os.system"


def tampered_classes(content):
    content["hyper_parameters"]["classes"] = {"names": []}


def tampered_without_weights(content):
    del content["state_dict"]


def tampered_kinds(content):
    content["hyper_parameters"]["model"] = [1]


def tampered_depths(content):
    content["hyper_parameters"]["model"]["backbone"]["depths"] = [2**100, 1, 1, 1]


def tampered_endless_depths(content):
    content["hyper_parameters"]["model"]["backbone"]["depths"] = [10**9, 1, 1, 1]


def tampered_endless_width(content):
    content["hyper_parameters"]["model"]["decoder"]["decoder_channels"] = 10**8


def tampered_num_classes_type(content):
    content["hyper_parameters"]["model"]["num_classes"] = 1.5


def tampered_mean(content):
    content["hyper_parameters"]["model"]["mean"] = "abc"


def tampered_state(content):
    content["state_dict"] = [1]


def tampered_key(content):
    content["state_dict"][5] = torch.zeros(1)


def tampered_palette(content):
    content["hyper_parameters"]["classes"]["palette"] = [1, 2, 3]


@pytest.mark.parametrize(
    "tamper",
    [
        tampered_depths,
        tampered_endless_depths,
        tampered_endless_width,
        tampered_num_classes_type,
        tampered_mean,
        tampered_state,
        tampered_key,
        tampered_palette,
        tampered_num_classes,
        tampered_missing_weight,
        tampered_unknown_option,
        tampered_unknown_component,
        tampered_classes,
        tampered_without_weights,
        tampered_kinds,
    ],
)
def test_weights_that_do_not_fit_the_description_are_refused(tmp_path, content, tamper):
    tamper(content)
    torch.save(content, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: weights and description do not fit") as error:
        load_checkpoint(tmp_path / "a.ckpt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.ckpt: is not a checkpoint: it is empty (0 bytes)"),
        (b"hello\n" * 100, "a.ckpt: is not a checkpoint, or damaged or cut off"),  # not: (101)
    ],
)
def test_errors_of_torch_for_other_files_are_not_shown(content, message, tmp_path):
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(tmp_path / "a.ckpt")
    assert str(caught.value) == f"{tmp_path}/{message}"


def test_a_temperature_is_stored_and_nothing_else_changes(tmp_path, content):
    path = tmp_path / "a.ckpt"
    save_checkpoint(content, path)
    assert load_checkpoint(path)[0].temperature.is_one  # as of older versions
    store_temperature(path, {"values": [1.5], "split": "val"})
    assert load_checkpoint(path)[0].temperature.values == (1.5,)
    stored = read_checkpoint(path)
    assert stored.pop("temperature") == {"values": [1.5], "split": "val"}
    weights, before = stored.pop("state_dict"), content["state_dict"]
    assert stored == {key: value for key, value in content.items() if key != "state_dict"}
    assert list(weights) == list(before)
    assert all(torch.equal(weights[name], before[name]) for name in before)
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.parametrize("record", [[1.5], {}, {"values": 1.5}, {"values": [1.0, 2.0]}, {"values": [-1.0]}])
def test_a_damaged_temperature_is_refused(tmp_path, content, record):
    save_checkpoint({**content, "temperature": record}, tmp_path / "a.ckpt")
    with pytest.raises(CheckpointError, match=r"a\.ckpt: its temperature is damaged"):
        load_checkpoint(tmp_path / "a.ckpt")
