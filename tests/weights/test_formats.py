"""Reading weight files of every format, without executing code in them."""

import io
import json
import logging
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from segnet.errors import CheckpointError
from segnet.weights.formats import read_weight_file

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "bn.num_batches_tracked": torch.tensor(7)}


def save(path: Path, content: object, **options) -> Path:
    torch.save(content, path, **options)
    return path


def assert_is_state(read: dict) -> None:
    assert list(read) == list(STATE)
    for name, value in STATE.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_weight_file(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.bin", "a.pdparams", "a"])
def test_torch_files_are_detected_by_content(tmp_path, name, zipped):
    state, meta = read_weight_file(save(tmp_path / name, STATE, _use_new_zipfile_serialization=zipped))
    assert_is_state(state)
    assert meta == {}


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a"])
def test_safetensors_are_detected_by_content(tmp_path, name):
    save_file(STATE, tmp_path / name)
    state, meta = read_weight_file(tmp_path / name)
    assert set(state) == set(STATE)
    assert_is_state({name: state[name] for name in STATE})
    assert meta == {}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", ["a.pdparams", "a"])
def test_paddle_files_are_read(tmp_path, name, protocol):
    arrays = {key: value.numpy() for key, value in STATE.items()}
    (tmp_path / name).write_bytes(pickle.dumps({**arrays, "StructuredToParameterName@@": {}}, protocol=protocol))
    state, meta = read_weight_file(tmp_path / name)
    assert_is_state(state)
    assert meta == {}


def test_a_scalar_tensor_survives_paddles_format(tmp_path):
    (tmp_path / "a.pdparams").write_bytes(pickle.dumps({"a": np.array(3.0, np.float32)}, protocol=2))
    assert read_weight_file(tmp_path / "a.pdparams")[0]["a"].shape == ()


@pytest.mark.parametrize("key", ["state_dict", "model", "state_dict_ema", "model_ema"])
def test_wrapper_keys_are_removed(tmp_path, key):
    content = {key: STATE, "epoch": 3, "optimizer": {"lr": 0.1}}
    assert_is_state(read_weight_file(save(tmp_path / "a.pth", content))[0])


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_prefix_of_data_parallelism_is_removed(tmp_path, wrapped):
    parallel = {f"module.{name}": value for name, value in STATE.items()}
    assert_is_state(read_weight_file(save(tmp_path / "a.pth", {"state_dict": parallel} if wrapped else parallel))[0])


def test_a_module_of_that_name_keeps_it(tmp_path):
    state, _ = read_weight_file(save(tmp_path / "a.pth", {"module.a": torch.ones(1), "head.b": torch.ones(1)}))
    assert set(state) == {"module.a", "head.b"}


@pytest.mark.parametrize("keys", [("state_dict", "state_dict_ema"), ("model", "model_ema")])
def test_ema_weights_are_not_preferred_and_the_choice_is_logged(tmp_path, keys, caplog):
    plain, average = keys
    content = {average: {name: value + 1 for name, value in STATE.items()}, plain: STATE}
    with caplog.at_level(logging.INFO, "segnet"):
        assert_is_state(read_weight_file(save(tmp_path / "a.pth", content))[0])
    assert f"uses its '{plain}' from: {plain}, {average}" in caplog.text


def test_ema_weights_alone_are_used_and_logged(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "segnet"):
        assert_is_state(read_weight_file(save(tmp_path / "a.pth", {"model_ema": STATE}))[0])
    assert "uses its 'model_ema'" in caplog.text


def test_metadata_in_the_file_is_returned(tmp_path):
    metadata = {"hyper_parameters": {"model": {"mean": [0.5]}}, "meta": {"CLASSES": ("road", "tree")}}
    _, meta = read_weight_file(save(tmp_path / "a.ckpt", {"state_dict": STATE, "epoch": 1, **metadata}))
    assert meta == metadata


def test_config_json_in_the_same_folder_is_read(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}))
    assert read_weight_file(tmp_path / "model.safetensors")[1] == {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}


def test_an_invalid_config_json_is_named(tmp_path):
    save_file(STATE, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: is not valid JSON"):
        read_weight_file(tmp_path / "model.safetensors")


class Evil:
    """Creates a folder when unpickled."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = str(sentinel)

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


class EvilDict(dict):
    """A state dict with a call after its items."""

    sentinel = ""

    def __reduce__(self):
        return os.mkdir, (self.sentinel,)


FORMATS = {
    "zip": lambda content, path: torch.save(content, path),
    "legacy": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
    "pickle": lambda content, path: path.write_bytes(pickle.dumps(content)),
    "pickle 2": lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2)),
}


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.ckpt", "a.bin", "a.pdparams", "a.safetensors", "a"])
@pytest.mark.parametrize("kind", FORMATS)
def test_code_in_a_file_never_runs(tmp_path, kind, name):
    sentinel = tmp_path / "sentinel"
    FORMATS[kind]({**STATE, "evil": Evil(sentinel)}, tmp_path / name)
    message = refusal(tmp_path / name)
    assert not sentinel.exists()
    if kind in ("zip", "legacy") and not name.endswith(".safetensors"):
        assert "mkdir" in message
        assert "save only its state_dict" in message


@pytest.mark.parametrize("kind", FORMATS)
def test_the_malicious_files_would_run_with_plain_pickle(tmp_path, kind):
    path, sentinel = tmp_path / "a.pth", tmp_path / "sentinel"
    FORMATS[kind]({**STATE, "evil": Evil(sentinel)}, path)
    if "pickle" in kind:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert sentinel.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_call_in_place_of_the_state_dict_never_runs(tmp_path, zipped):
    sentinel = tmp_path / "sentinel"
    hidden = EvilDict(STATE)
    hidden.sentinel = str(sentinel)
    save(tmp_path / "a.pth", {"state_dict": hidden}, _use_new_zipfile_serialization=zipped)
    refusal(tmp_path / "a.pth")
    assert not sentinel.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_modules_are_refused_with_advice(tmp_path, zipped):
    path = save(tmp_path / "a.pth", torch.nn.Conv2d(1, 1, 1), _use_new_zipfile_serialization=zipped)
    assert "torch.nn.modules.conv.Conv2d" in refusal(path)


def test_torchscript_is_refused(tmp_path):
    save(tmp_path / "a.pt", STATE)
    with zipfile.ZipFile(tmp_path / "a.pt", "a") as archive:  # torch detects TorchScript by this file
        archive.writestr("a/constants.pkl", b"\x80\x02).")
    assert "TorchScript" in refusal(tmp_path / "a.pt")


@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, -1])
@pytest.mark.parametrize("format", ["zip", "legacy", "safetensors", "pdparams"])
def test_truncated_files_are_refused(tmp_path, format, kept):
    buffer = io.BytesIO()
    path = tmp_path / "a.pth"
    if format == "safetensors":
        path = tmp_path / "a.safetensors"
        save_file(STATE, path)
        content = path.read_bytes()
    elif format == "pdparams":
        path = tmp_path / "a.pdparams"
        content = pickle.dumps({name: value.numpy() for name, value in STATE.items()}, protocol=2)
    else:
        torch.save(STATE, buffer, _use_new_zipfile_serialization=format == "zip")
        content = buffer.getvalue()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refusal(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.pdparams"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>\n", b"\x00" * 64, b"PK\x03\x04", b"\x80\x02."])
def test_other_files_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_a_header_longer_than_its_file_is_refused(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    refusal(tmp_path / "a.safetensors")


def test_zip_archives_are_refused_with_advice(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(b"\x1f\x8b\x08\x00")
    assert "unpack it" in refusal(tmp_path / "a.tar.gz")


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "none.pth")
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("content", [{}, [torch.ones(1)], torch.ones(1), {"a": 1}, {3: torch.ones(1)}, {"model": {}}])
def test_files_without_weights_are_refused(tmp_path, content):
    assert "dict of weights" in refusal(save(tmp_path / "a.pth", content))
