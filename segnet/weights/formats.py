"""Read weight files of several formats, detected by content, without executing code in them.

Formats: torch's ``.pth``, ``.pt`` and ``.ckpt`` (zip and older pickles, ``weights_only``), ``.safetensors``, and
Paddle's ``.pdparams``. A pickle may name only the functions that arrays need; any other name is refused before a call.
"""

import json
import logging
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import Tensor

from segnet.errors import CheckpointError
from segnet.system.integrity import refusing_damage
from segnet.system.torch_files import load_torch
from segnet.weights.archive import pdparams_in
from segnet.weights.pdparams import read_pdparams

log = logging.getLogger(__name__)

TORCH_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
# Files of torch before 1.6 start with a pickle of torch's magic number.
TORCH_PICKLE = bytes.fromhex("80028a0a6cfc9c46f9206aa85019")
GZIP = b"\x1f\x8b"
# The first of these keys holds the weights. EMA weights are never preferred silently.
WRAPPERS = ("state_dict", "model", "state_dict_ema", "model_ema")
METADATA_KEYS = ("hyper_parameters", "meta")  # metadata of segnet and mmsegmentation


def read_weight_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights in a file.

    Returns:
        Name -> tensor with the file's names (without "module." of torch's data parallelism); and the metadata:
        "hyper_parameters" (segnet), "meta" (mmsegmentation), and for ``.safetensors`` the contents of a config.json in
        the same folder.

    Raises:
        CheckpointError: the file is missing, damaged or unsafe, or contains no weights.
    """
    with refusing_damage(path, "cannot be read"), open(path, "rb") as file:
        start = file.read(len(TORCH_PICKLE))
    if start.startswith(GZIP) or path.suffix == ".tar":
        return _as_tensors(read_pdparams(path, pdparams_in(path))), {}
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < path.stat().st_size:
        return _read_safetensors(path)
    if start == TORCH_PICKLE or start.startswith(b"PK\x03\x04") or path.suffix in TORCH_SUFFIXES:
        return _unwrap(load_torch(path, "a weight file", legacy=True, mapped=True), path)
    return _as_tensors(read_pdparams(path)), {}


def _as_tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with refusing_damage(path, "is a damaged .safetensors file"), safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config_path = path.with_name("config.json")
    if not config_path.exists():
        return state, {}
    with refusing_damage(config_path, f"is not valid JSON; it configures {path.name}"):
        config = json.loads(config_path.read_text(encoding="utf-8"))
    return state, config if isinstance(config, dict) else {}


def _unwrap(content: Any, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights and the metadata in the content of a torch file."""
    meta: dict[str, Any] = {}
    if isinstance(content, Mapping):
        meta = {key: content[key] for key in METADATA_KEYS if isinstance(content.get(key), dict)}
        found = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if found:
            if len(found) > 1 or "ema" in found[0]:
                log.info("%s: uses its '%s' from: %s", path, found[0], ", ".join(found))
            content = content[found[0]]
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"{path}: contains a {type(content).__name__} instead of a dict of weights")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: is not a dict of weights: its entry {name!r} is a {type(value).__name__}")
    parallel = all(name.startswith("module.") for name in content)
    return {name.removeprefix("module.") if parallel else name: value for name, value in content.items()}, meta
