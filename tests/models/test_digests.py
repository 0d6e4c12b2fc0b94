"""Digests in exported files: every changed byte is detected, and files without a digest are recognized."""

import shutil

import pytest
from exports import CLASSES

from segnet.errors import CheckpointError, ConfigError
from segnet.models.digests import (
    require_config_digests,
    require_export_digest,
    with_config_digests,
    with_onnx_digest,
    with_xml_digest,
)
from segnet.models.metadata import Metadata


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :]


def metadata() -> bytes:
    return Metadata(CLASSES, (0.5,) * 3, (0.5,) * 3, "uint8", "logits").to_json().encode()


def test_every_changed_byte_of_an_onnx_file_is_detected(tmp_path):
    path = tmp_path / "a.onnx"
    whole = with_onnx_digest(b"graph " + metadata() + b" weights " * 10)
    path.write_bytes(whole)
    assert require_export_digest(path)
    for place in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, place))
        with pytest.raises(CheckpointError, match=r"a\.onnx: is damaged, or was changed after its export"):
            require_export_digest(path)
    path.write_bytes(whole[:-50])  # truncated after the metadata, which declare a digest
    with pytest.raises(CheckpointError):
        require_export_digest(path)


def test_every_changed_byte_of_openvino_files_is_detected(tmp_path):
    path, weights = tmp_path / "a.xml", tmp_path / "a.bin"
    xml = with_xml_digest(b"<net><segnet value=" + metadata().replace(b'"', b"&quot;") + b"/></net>", b"weights" * 9)
    path.write_bytes(xml)
    weights.write_bytes(b"weights" * 9)
    assert require_export_digest(path)
    for place in range(0, len(xml), 7):
        path.write_bytes(flipped(xml, place))
        with pytest.raises(CheckpointError, match=r"a\.xml: is damaged"):
            require_export_digest(path)
    path.write_bytes(xml)
    weights.write_bytes(flipped(b"weights" * 9, 30))
    with pytest.raises(CheckpointError, match=r"a\.bin: is damaged"):
        require_export_digest(path)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml"])
def test_files_of_older_versions_have_no_digest(tmp_path, name):
    old = metadata().replace(b', "integrity": "sha256"', b"")
    (tmp_path / name).write_bytes(b"graph " + old)
    assert not require_export_digest(tmp_path / name)


def test_digests_in_config_json_verify_config_and_weights(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    config = with_config_digests({"mean": [0.5], "names": ["Straße"]}, weights)
    assert require_config_digests(config, weights) == {"mean": [0.5], "names": ["Straße"]}
    with pytest.raises(ConfigError, match=r"config\.json changed after the export"):
        require_config_digests({**config, "mean": [0.25]}, weights)
    without = {key: value for key, value in config.items() if key != "sha256"}
    assert require_config_digests({**without, "mean": [0.25]}, weights)["mean"] == [0.25]  # edited on purpose
    moved = shutil.copy(weights, tmp_path / "renamed.safetensors")
    assert require_config_digests(config, moved)
    weights.write_bytes(b"Weights")
    with pytest.raises(ConfigError, match=r"model\.safetensors changed after the export"):
        require_config_digests(config, weights)
