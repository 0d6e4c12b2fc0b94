"""Download weight files from a URL or the hub.

Downloads are atomic, and stored in the caches of torch and huggingface_hub. If the file name contains a hash, it is
verified: torch's convention ``name-<first digits of the sha256>.pth``, which mmsegmentation follows too.
"""

import hashlib
import http.client
import importlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

import torch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from segnet.errors import CheckpointError, MachineError, SegnetError, first_line
from segnet.system.files import replacing
from segnet.system.web import CHUNK, TIMEOUT, Redirects, is_web

MAX_WEIGHTS_BYTES = 10 * 2**30
SLOW_WINDOW = 60.0  # period for measuring the download speed [seconds]
SLOWEST = 4096.0  # lowest accepted speed [bytes / second]

MAX_NAME_LENGTH = 150  # of a downloaded file; its temporary name is longer [characters]
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
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
            return _fetch_from_hub(text)
        raise CheckpointError(f"{text}: no such file")
    return path


def cache_path(url: str) -> Path:
    """The local path of a download, in the folder of torch.hub.

    A name with a hash is unique and shared with torch's downloads. Other names are ambiguous (PaddleSeg calls every
    model model.pdparams), so each URL gets its own folder.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
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
    """Download atomically, and verify the SHA-256 in the name, if any."""
    request = urllib.request.Request(url, headers={"User-Agent": "segnet"})
    try:
        response = urllib.request.build_opener(Redirects(CheckpointError)).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        reason = f"the server answered {error.code} {error.reason}"
        if error.code < 500:
            raise CheckpointError(f"{url}: cannot be downloaded: {reason}") from None
        raise _by_hand(url, target, reason) from None
    except SegnetError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _by_hand(url, target, error) from None
    except ValueError as error:  # a host that cannot be encoded, or a redirect to no URL
        raise CheckpointError(f"{url}: cannot be downloaded ({first_line(error)})") from None
    with response, replacing(target) as temporary:
        digest = hashlib.sha256()
        with open(temporary, "wb") as file:
            for chunk in _body_chunks(response, url, target):
                file.write(chunk)
                digest.update(chunk)
        if promised and not digest.hexdigest().startswith(promised):
            raise CheckpointError(
                f"{url}: damaged download, its sha256 starts with {digest.hexdigest()[: len(promised)]} "
                f"instead of {promised}: try again"
            )


def _body_chunks(response: Any, url: str, target: Path) -> Iterator[bytes]:
    """Yield the body of a response in chunks, with a progress bar on a terminal.

    Raises:
        MachineError: the connection is lost or too slow.
        CheckpointError: the body is too large for weights.
    """
    length = response.headers.get("Content-Length", "")
    size = int(length) if length.isdecimal() else None
    received = received_before = 0
    window = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(target.name, total=size)
        while True:
            try:
                chunk = response.read1(CHUNK)  # read() would block until the whole chunk has arrived
            except (OSError, http.client.HTTPException) as error:
                raise _by_hand(url, target, error) from None
            if not chunk:
                break
            received += len(chunk)
            if max(received, size or 0) > MAX_WEIGHTS_BYTES:
                raise CheckpointError(f"{url}: is larger than {MAX_WEIGHTS_BYTES >> 30} GiB, too large for weights")
            if time.monotonic() - window > SLOW_WINDOW:
                if received - received_before < SLOWEST * SLOW_WINDOW:
                    raise _by_hand(url, target, "the download is too slow")
                window, received_before = time.monotonic(), received
            progress.update(bar, completed=received)
            yield chunk
    if size is not None and received != size:
        raise _by_hand(url, target, f"truncated after {received} of {size} bytes")


def _by_hand(url: str, target: Path, reason: object) -> MachineError:
    reason = getattr(reason, "reason", reason)  # of a URLError
    reason = " ".join(str(reason).split()) or type(reason).__name__
    return MachineError(
        f"{url}: cannot be downloaded ({reason}): download it manually to {target}, "
        "or use the path of the downloaded file instead of the URL"
    )


def _fetch_from_hub(name: str) -> Path:
    """Download model.safetensors of a model on the hub to huggingface_hub's cache ($HF_HOME)."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except ImportError:
        raise MachineError(
            f'{name}: no such file; to download that model from the hub: pip install "segnet[hub]"'
        ) from None
    try:
        path = Path(hub.hf_hub_download(name, "model.safetensors"))
        _fetch_config(hub, errors, name)
    except Exception as error:  # includes errors of the HTTP library that huggingface_hub does not catch
        raise hub_error(hub, errors, name, error) from None
    return path


def _fetch_config(hub: Any, errors: Any, name: str) -> None:
    """Download config.json, which contains the normalization. It may be absent on the hub, but not unreachable."""
    try:
        hub.hf_hub_download(name, "config.json")
    except errors.LocalEntryNotFoundError:
        raise
    except errors.EntryNotFoundError:
        pass


def hub_error(hub: Any, errors: Any, name: str, error: Exception, instead: str = "model.safetensors") -> SegnetError:
    """Explain an error of the hub in one line.

    Args:
        hub, errors: the modules huggingface_hub and huggingface_hub.errors.
        name: name of the model.
        error: an error of huggingface_hub or its HTTP library.
        instead: the file to use after a manual download.
    """
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return CheckpointError(f"{name}: no such file, and no public model on the hub has this name")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return CheckpointError(f"{name}: this model on the hub has no model.safetensors: use a file or URL instead")
    urls = " and ".join(hub.hf_hub_url(name, file) for file in ("model.safetensors", "config.json"))
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub is not reachable"
    return MachineError(
        f"{name}: no such file, and not in the hub's cache ({offline}): download {urls} manually "
        f"into one folder, and use that {instead} instead"
    )
