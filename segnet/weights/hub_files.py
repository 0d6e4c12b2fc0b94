"""Download weights from the Hugging Face hub by https; only private models need huggingface_hub.

The hub publishes the SHA-256 and the size of each large file, and both are checked. A file in the hub's own cache
($HF_HOME) is used first. Others are kept in the folder of torch.hub.
"""

import importlib
import os
import re
from pathlib import Path
from typing import Any

import torch

from segnet.errors import CheckpointError, MachineError, SegnetError
from segnet.system.files import replacing
from segnet.weights.catalog import PUBLISHED_WEIGHTS
from segnet.weights.transfer import TransferError, read_small, save

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ("model.safetensors", "config.json")
PUBLIC_HUB = "https://huggingface.co"
NO_PUBLIC_MODEL = "no such file, and no public model on the hub has this name"
NO_WEIGHTS = "this model on the hub has no model.safetensors: use a file or URL instead"
# A Git LFS pointer, which the hub stores in git instead of a large file.
POINTER = re.compile(rb"version https://git-lfs[^\n]*\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")


def checkpoints_folder() -> Path:
    """Return the folder of downloaded weights, shared with torch.hub."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def fetch_from_hub(name: str) -> Path:
    """Return the local path of model.safetensors; its config.json, if any, is in the same folder.

    Args:
        name: name of the model, such as "timm/resnet50d.ra2_in1k".

    Raises:
        CheckpointError: the hub has no such model.
        MachineError: network or disk failed; the message explains the manual download.
    """
    for path in (_in_hub_cache(name), checkpoints_folder() / f"hub-{name.replace('/', '--')}" / FILES[0]):
        if path.is_file():
            return path
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise _unreachable(name, "HF_HUB_OFFLINE is set")
    try:
        _download_model(name, path.parent)
    except TransferError as error:
        if error.status in (401, 403):  # also the answer for models that do not exist
            return _with_login(name)
        if error.status == 404:
            raise CheckpointError(f"{name}: {NO_WEIGHTS}") from None
        raise _unreachable(name, f"the hub is not reachable: {error}") from None
    return path


def _download_model(name: str, folder: Path) -> None:
    """Download the config, then the weights: if the weights exist, the model is complete.

    Raises:
        TransferError, CheckpointError: as `segnet.weights.transfer.save`.
    """
    weights, config = FILES
    pointer = POINTER.match(read_small(f"{_endpoint()}/{name}/raw/main/{weights}"))
    digest, size = (pointer[1].decode(), int(pointer[2])) if pointer else (None, None)
    try:
        content: bytes | None = read_small(_hub_url(name, config))
    except TransferError as error:
        if error.status != 404:
            raise
        content = None  # a model without config.json
    folder.mkdir(parents=True, exist_ok=True)
    if content is not None:
        with replacing(folder / config) as temporary:
            temporary.write_bytes(content)
    save(_hub_url(name, weights), folder / weights, digest, size)


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", PUBLIC_HUB).rstrip("/")


def _hub_url(name: str, file: str) -> str:
    return f"{_endpoint()}/{name}/resolve/main/{file}"


def _in_hub_cache(name: str) -> Path:
    """Return the path of the weights in huggingface_hub's cache; it may not exist."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface").expanduser()
    model = Path(os.environ.get("HF_HUB_CACHE") or home / "hub") / f"models--{name.replace('/', '--')}"
    try:
        revision = (model / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        revision = "none"
    return model / "snapshots" / revision / FILES[0]


def _with_login(name: str) -> Path:
    """Download a private model with huggingface_hub and the user's token."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except ImportError:
        raise CheckpointError(
            f'{name}: {NO_PUBLIC_MODEL}; for a private one pip install "segnet[hub]" and log in'
        ) from None
    try:
        path = Path(hub.hf_hub_download(name, FILES[0]))
        _fetch_config(hub, errors, name)
    except Exception as error:  # huggingface_hub passes on some errors of its HTTP library
        raise hub_error(errors, name, error) from None
    return path


def _fetch_config(hub: Any, errors: Any, name: str) -> None:
    """Download config.json, which has the normalization; a model may have none, but the hub must be reachable."""
    try:
        hub.hf_hub_download(name, FILES[1])
    except errors.LocalEntryNotFoundError:
        raise
    except errors.EntryNotFoundError:
        pass


def hub_error(errors: Any, name: str, error: Exception, instead: str = FILES[0]) -> SegnetError:
    """Explain an error of huggingface_hub in one line.

    Args:
        errors: the module huggingface_hub.errors.
        name: name of the model.
        error: error of huggingface_hub or of its HTTP library.
        instead: the file or folder to use after a manual download.
    """
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return CheckpointError(f"{name}: {NO_PUBLIC_MODEL}")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return CheckpointError(f"{name}: {NO_WEIGHTS}")
    reason = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub is not reachable"
    return _unreachable(name, reason, instead)


def _unreachable(name: str, reason: str, instead: str = FILES[0]) -> MachineError:
    if (name, "ImageNet") in {
        (entry.source, entry.normalization) for entry in PUBLISHED_WEIGHTS
    }:  # known without config.json
        url = _hub_url(name, FILES[0])
        return MachineError(f"{name}: cannot be downloaded ({reason}): download {url} manually and use that file")
    urls = " and ".join(_hub_url(name, file) for file in FILES)
    return MachineError(
        f"{name}: no such file, and not in the hub's cache ({reason}): download {urls} manually "
        f"into one folder, and use that {instead} instead"
    )
