"""SHA-256 digests inside exported files, compared whenever a file is loaded: a flipped bit could change a mask.

ONNX files and OpenVINO's .xml end in a digest of all bytes before it; the .xml also has that of its .bin. For other
programs the one is a metadata entry, the other a comment. config.json beside model.safetensors has the digests of both.
Programs of torch.export are zip archives and have checksums of their own. Files of older versions have no digest.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segnet.errors import CheckpointError, ConfigError

INTEGRITY = '"integrity": "sha256"'  # stands in the metadata of files that end in a digest
DIGEST_KEY = b"segnet_sha256"
# A field of ModelProto (onnx.proto3): metadata_props = 14, with key = 1 and value = 2. Protobuf fields may follow in
# any order, so that one can be appended to a serialized message.
ONNX_TRAILER = b"\x72\x51\x0a\x0d" + DIGEST_KEY + b"\x12\x40"
ONNX_TRAILER_SIZE = len(ONNX_TRAILER) + 64
XML_TRAILER = re.compile(rb"<!-- segnet_sha256 ([0-9a-f]{64}) ([0-9a-f]{64}) -->\n")
XML_TRAILER_SIZE = 153  # [bytes]
CONFIG_KEY = "sha256"


def with_onnx_digest(content: bytes) -> bytes:
    """A serialized ONNX model with its digest as the last metadata entry."""
    return content + ONNX_TRAILER + hashlib.sha256(content).hexdigest().encode()


def with_xml_digest(xml: bytes, weights: bytes) -> bytes:
    """OpenVINO's .xml with its digest and that of its .bin as a comment at the end."""
    digests = f"{hashlib.sha256(xml).hexdigest()} {hashlib.sha256(weights).hexdigest()}"
    return xml + f"<!-- {DIGEST_KEY.decode()} {digests} -->\n".encode()


def with_config_digests(config: Mapping[str, Any], weights: Path) -> dict[str, Any]:
    """The contents of config.json with its digest and that of the weights beside it."""
    return {**config, CONFIG_KEY: {"weights": _of_file(weights), "config": _of_config(config)}}


def require_export_digest(path: Path) -> bool:
    """Compare an .onnx file, or an .xml file and its .bin, with the digests inside.

    Returns:
        Whether the file has a digest: those of older versions have none.

    Raises:
        CheckpointError: it has changed since it was exported.
        OSError: it cannot be read.
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
    """Compare the contents of config.json and the weights beside it with the digests in the former.

    Returns:
        The contents without the digests.

    Raises:
        ConfigError: one of them has changed since it was written.
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
