"""Download weight files from a URL or the hub.

Downloads are atomic, and stored in the caches of torch and huggingface_hub. If the file name contains a hash, it is
verified: torch's convention ``name-<first digits of the sha256>.pth``, which mmsegmentation follows too.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from segnet.errors import CheckpointError, MachineError
from segnet.system.web import is_web
from segnet.weights.hub_files import HUB_NAME, checkpoints_folder, fetch_from_hub
from segnet.weights.transfer import TransferError, save

MAX_NAME_LENGTH = 150  # largest length of a file name; its temporary name is longer [characters]
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
FILE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".pdparams", ".tar", ".gz", ".zip")
PROMISED_HASH = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")
DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")  # a date, not a hash


def fetch(source: str | os.PathLike[str]) -> Path:
    """Return the local path of a weight file; download it if needed.

    Args:
        source: a path (with ``~``), a http(s) URL, or a name on the hub ("timm/resnet50d.ra2_in1k"). An existing file
            or folder takes precedence over the hub.

    Returns:
        The path; model.safetensors for a model on the hub, with its config.json, if any, in the same folder.

    Raises:
        CheckpointError: the file does not exist, or the download does not match the hash in its name.
        MachineError: network or disk failed; the message explains the manual download.
    """
    text = os.fspath(source)
    if URL.match(text):
        return _fetch_url(text)
    path = Path(os.path.expanduser(text))
    if not os.path.exists(path):  # unlike Path.exists, it accepts a too long name
        if HUB_NAME.fullmatch(text) and not text.endswith(FILE_SUFFIXES):
            return fetch_from_hub(text)
        raise CheckpointError(f"{text}: no such file")
    return path


def cache_path(url: str) -> Path:
    """The local path of a download, in the folder of torch.hub.

    A name with a hash is unique and shared with torch's downloads. Other names are ambiguous (PaddleSeg calls every
    model model.pdparams), so each URL gets its own folder.
    """
    folder = checkpoints_folder()
    name = re.sub(r"[^\w.+=-]", "_", PurePosixPath(unquote(urlsplit(url).path)).name)
    if _promised_hash(name) is None:
        folder /= f"segnet-{hashlib.sha256(os.fsencode(url)).hexdigest()[:8]}"
    return folder / (name.lstrip(".")[-MAX_NAME_LENGTH:] or "weights")


def _promised_hash(name: str) -> str | None:
    match = PROMISED_HASH.search(name)
    return match[1] if match and not DATE.fullmatch(match[1]) else None


def _fetch_url(url: str) -> Path:
    if not is_web(url, CheckpointError):
        raise CheckpointError(f"{url}: weights are downloaded from http:// or https:// only")
    target = cache_path(url)
    promised = _promised_hash(target.name)
    if not target.is_file():
        _download(url, target, promised)
    elif promised and not _hash_of(target).startswith(promised):
        raise CheckpointError(f"{target}: is damaged, its sha256 does not start with {promised}: delete it")
    return target


def _hash_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, target: Path, promised: str | None) -> None:
    try:
        save(url, target, promised)
    except TransferError as error:
        if error.status is not None and error.status < 500:
            raise CheckpointError(f"{url}: cannot be downloaded: {error}") from None
        raise MachineError(
            f"{url}: cannot be downloaded ({error}): download it manually to {target}, "
            "or use the path of the downloaded file instead of the URL"
        ) from None
