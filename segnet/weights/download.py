"""Weight files from elsewhere: a URL or a name on the hub becomes a local path.

Downloads go where torch and huggingface_hub keep theirs, arrive whole or not at all, and are held against the hash that
their name promises: torch's convention ``name-<first digits of the sha256>.pth``, which mmsegmentation keeps too.
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
SLOW_WINDOW = 60.0  # over which a download must keep up [seconds]
SLOWEST = 4096.0  # [bytes / second]

MAX_NAME_LENGTH = 150  # of a downloaded file, whose temporary name is longer [characters]
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors", ".pdparams", ".tar", ".gz", ".zip")
PROMISED_HASH = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+")
DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")  # no hash, though of its letters


def fetch(source: str | os.PathLike[str]) -> Path:
    """Return the local path of a weight file; download it if needed.

    Args:
        source: a path (with ``~``), a http(s) URL, or a name on the hub ("timm/resnet50d.ra2_in1k"). A file or folder
            that exists wins over the hub.

    Returns:
        A path; of a model on the hub its model.safetensors, with its config.json beside it where it has one.

    Raises:
        CheckpointError: there is no such file, or what was downloaded is not what its name promises.
        MachineError: the network or the disk does not allow it; says what to download by hand, and where to put it.
    """
    text = os.fspath(source)
    if URL.match(text):
        return _fetch_url(text)
    path = Path(os.path.expanduser(text))
    if not os.path.exists(path):  # unlike the method of Path, it takes a name that is too long
        if HUB_NAME.fullmatch(text) and not text.endswith(FILE_SUFFIXES):
            return _fetch_from_hub(text)
        raise CheckpointError(f"{text}: no such file")
    return path


def cache_path(url: str) -> Path:
    """The local path of a download, in the folder of torch.hub.

    A name with a hash is unique, and shared with torch's own downloads. Others are not (PaddleSeg calls every model
    model.pdparams), so these get a folder of their own for each URL.
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
        raise CheckpointError(f"{target}: is damaged, its sha256 does not begin with {promised}: delete it")
    return target


def _hash_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, target: Path, promised: str | None) -> None:
    """Download atomically, and compare the SHA-256 that the name promises."""
    request = urllib.request.Request(url, headers={"User-Agent": "segnet"})
    try:
        response = urllib.request.build_opener(Redirects(CheckpointError)).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        reason = f"the server says {error.code} {error.reason}"
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
                f"{url}: was damaged on its way, its sha256 begins with {digest.hexdigest()[: len(promised)]} "
                f"and not with {promised}: try again"
            )


def _body_chunks(response: Any, url: str, target: Path) -> Iterator[bytes]:
    """The body of a response, shown as it grows on a terminal.

    Raises:
        MachineError: the connection breaks or nearly stands still.
        CheckpointError: the body is larger than any weights.
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
                chunk = response.read1(CHUNK)  # read() would wait until all of it has dripped in
            except (OSError, http.client.HTTPException) as error:
                raise _by_hand(url, target, error) from None
            if not chunk:
                break
            received += len(chunk)
            if max(received, size or 0) > MAX_WEIGHTS_BYTES:
                raise CheckpointError(f"{url}: is larger than {MAX_WEIGHTS_BYTES >> 30} GiB: these are no weights")
            if time.monotonic() - window > SLOW_WINDOW:
                if received - received_before < SLOWEST * SLOW_WINDOW:
                    raise _by_hand(url, target, "it arrives too slowly")
                window, received_before = time.monotonic(), received
            progress.update(bar, completed=received)
            yield chunk
    if size is not None and received != size:
        raise _by_hand(url, target, f"it was cut off after {received} of {size} bytes")


def _by_hand(url: str, target: Path, reason: object) -> MachineError:
    reason = getattr(reason, "reason", reason)  # of a URLError
    reason = " ".join(str(reason).split()) or type(reason).__name__
    return MachineError(
        f"{url}: cannot be downloaded ({reason}): download it by hand and put it at {target}, "
        "or name the downloaded file instead of the URL"
    )


def _fetch_from_hub(name: str) -> Path:
    """The model.safetensors of a model on the hub, in huggingface_hub's own cache ($HF_HOME)."""
    try:
        hub = importlib.import_module("huggingface_hub")
        errors = importlib.import_module("huggingface_hub.errors")
    except ImportError:
        raise MachineError(
            f'{name}: no such file; to fetch a model of that name from the hub: pip install "segnet[hub]"'
        ) from None
    try:
        path = Path(hub.hf_hub_download(name, "model.safetensors"))
        _fetch_config(hub, errors, name)
    except Exception as error:  # an HTTP library's errors, of which huggingface_hub lets some through
        raise hub_error(hub, errors, name, error) from None
    return path


def _fetch_config(hub: Any, errors: Any, name: str) -> None:
    """Without it the normalization would be unknown: a model that has none is fine, an unreachable one is not."""
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
        name: of the model.
        error: of huggingface_hub, or of the library that it asks the network with.
        instead: what can be named once the files were downloaded by hand.
    """
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return CheckpointError(f"{name}: no such file, and the hub has no public model of that name")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return CheckpointError(f"{name}: that model of the hub has no model.safetensors: name a file or URL instead")
    urls = " and ".join(hub.hf_hub_url(name, file) for file in ("model.safetensors", "config.json"))
    offline = "HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else "the hub cannot be reached"
    return MachineError(
        f"{name}: no such file, and not in the cache of the hub ({offline}): download {urls} by hand "
        f"into one folder, and name that {instead} instead"
    )
