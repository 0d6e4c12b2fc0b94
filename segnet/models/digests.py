"""SHA-256 digests in exported files, verified on every load: a flipped bit could change a mask.

ONNX files and OpenVINO's .xml end in a digest of all preceding bytes; the .xml also contains that of its .bin. Other
programs see a metadata entry (ONNX) or a comment (.xml). config.json next to model.safetensors contains the digests of
both. torch.export programs are zip archives with their own checksums. Files of older versions have no digest.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segnet.errors import CheckpointError, ConfigError

INTEGRITY = '"integrity": "sha256"'  # metadata of files that end in a digest
DIGEST_KEY = b"segnet_sha256"
# A field of ModelProto (onnx.proto3): metadata_props = 14, with key = 1 and value = 2. Protobuf allows fields in any
# order, so a field can be appended to a serialized message.
ONNX_TRAILER = b"\x72\x51\x0a\x0d" + DIGEST_KEY + b"\x12\x40"
ONNX_TRAILER_SIZE = len(ONNX_TRAILER) + 64
XML_TRAILER = re.compile(rb"<!-- segnet_sha256 ([0-9a-f]{64}) ([0-9a-f]{64}) -->\n")
XML_TRAILER_SIZE = 153  # [bytes]
CONFIG_KEY = "sha256"


def with_onnx_digest(content: bytes) -> bytes:
    """Append a digest to a serialized ONNX model, as its last metadata entry."""
    return content + ONNX_TRAILER + hashlib.sha256(content).hexdigest().encode()


def with_xml_digest(xml: bytes, weights: bytes) -> bytes:
    """Append the digests of OpenVINO's .xml and .bin to the .xml, as a comment."""
    digests = f"{hashlib.sha256(xml).hexdigest()} {hashlib.sha256(weights).hexdigest()}"
    return xml + f"<!-- {DIGEST_KEY.decode()} {digests} -->\n".encode()


def with_config_digests(config: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Add the digests of config.json and of its weights file to the content of config.json."""
    return {**config, CONFIG_KEY: {"weights": _of_file(weights), "config": _of_config(config)}}


def require_export_digest(path: Path) -> bool:
    """Verify the digests in an .onnx file, or in an .xml file for itself and its .bin.

    Returns:
        Whether the file has a digest; files of older versions have none.

    Raises:
        CheckpointError: the file changed after its export.
        OSError: the file cannot be read.
    """
    if path.suffix == ".xml":
        return _require_xml_digest(path)
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - ONNX_TRAILER_SIZE))
        trailer = file.read()
        file.seek(0)
        if trailer.startswith(ONNX_TRAILER):
            digest = hashlib.sha256()
            _update(digest, file, size - ONNX_TRAILER_SIZE)
            if digest.hexdigest().encode() != trailer[len(ONNX_TRAILER) :]:
                raise _changed(path)
            return True
        if _promises_digest(file.read()):
            raise _changed(path)
    return False


def require_config_digests(config: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """Verify the digests in config.json for itself and its weights file.

    Returns:
        The content of config.json without the digests.

    Raises:
        ConfigError: one of the files changed after it was written.
        OSError: the weights cannot be read.
    """
    config = dict(config)
    digests = config.pop(CONFIG_KEY, None)
    if digests is None:
        return config
    if not isinstance(digests, dict) or digests.get("config") != _of_config(config):
        raise ConfigError(f"config.json changed after the export; if you edited it, remove its {CONFIG_KEY!r} entry")
    if digests.get("weights") != _of_file(weights):
        raise ConfigError(f"{weights.name} changed after the export; export it again")
    return config


def _require_xml_digest(path: Path) -> bool:
    content = path.read_bytes()
    found = XML_TRAILER.fullmatch(content[-XML_TRAILER_SIZE:])
    if found is None:
        if _promises_digest(content.replace(b"&quot;", b'"')):
            raise _changed(path)
        return False
    if hashlib.sha256(content[:-XML_TRAILER_SIZE]).hexdigest().encode() != found[1]:
        raise _changed(path)
    weights = path.with_suffix(".bin")
    if _of_file(weights).encode() != found[2]:
        raise _changed(weights)
    return True


def _promises_digest(content: bytes) -> bool:
    return INTEGRITY.encode() in content


def _changed(path: Path) -> CheckpointError:
    return CheckpointError(f"{path}: is damaged, or was changed after its export: export it again")


def _of_config(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _update(digest: Any, file: Any, size: int) -> None:
    while size > 0 and (chunk := file.read(min(size, 2**20))):
        digest.update(chunk)
        size -= len(chunk)
