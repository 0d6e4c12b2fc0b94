"""Download weights over HTTP(S): atomic write, checks of size and SHA-256, and a progress bar."""

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from segnet.errors import CheckpointError, SegnetError, first_line
from segnet.system.files import replacing
from segnet.system.web import CHUNK, TIMEOUT, Redirects

MAX_WEIGHTS_BYTES = 10 * 2**30
MAX_SMALL_BYTES = 2**20  # largest file that describes weights
SLOW_WINDOW = 60.0  # period for measuring the download speed [seconds]
SLOWEST = 4096.0  # lowest accepted speed [bytes / second]


class TransferError(Exception):
    """A failed download.

    Args:
        reason: short reason.
        status: HTTP status of an error response; None without a complete response.
    """

    def __init__(self, reason: object, status: int | None = None) -> None:
        reason = getattr(reason, "reason", reason)  # of a URLError
        super().__init__(" ".join(str(reason).split()) or type(reason).__name__)
        self.status = status


def save(url: str, target: Path, promised: str | None = None, size: int | None = None) -> None:
    """Download a file of weights.

    Args:
        url: http:// or https://.
        target: the file to write.
        promised: the SHA-256 in hexadecimal, or its first digits; None: unknown.
        size: size of the file [bytes]; None: the Content-Length of the server.

    Raises:
        TransferError: the server or the network failed.
        CheckpointError: a refused redirect, or a damaged or too large file.
    """
    with _opened(url) as response, replacing(target) as temporary:
        digest = hashlib.sha256()
        with open(temporary, "wb") as file:
            for chunk in _body_chunks(response, url, target.name, size):
                file.write(chunk)
                digest.update(chunk)
        if promised and not digest.hexdigest().startswith(promised):
            raise CheckpointError(
                f"{url}: damaged download, its sha256 starts with {digest.hexdigest()[: len(promised)]} "
                f"instead of {promised}: try again"
            )


def read_small(url: str) -> bytes:
    """Download a small file, of at most 1 MiB, into memory.

    Raises:
        TransferError, CheckpointError: as `save`.
    """
    with _opened(url) as response:
        try:
            content: bytes = response.read(MAX_SMALL_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise TransferError(error) from None
    return content


def _opened(url: str) -> Any:
    request = urllib.request.Request(url, headers={"User-Agent": "segnet"})
    try:
        return urllib.request.build_opener(Redirects(CheckpointError)).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        raise TransferError(f"the server answered {error.code} {error.reason}", error.code) from None
    except SegnetError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(error) from None
    except ValueError as error:  # a host that cannot be encoded, or a redirect to no URL
        raise CheckpointError(f"{url}: cannot be downloaded ({first_line(error)})") from None


def _body_chunks(response: Any, url: str, name: str, size: int | None) -> Iterator[bytes]:
    """Yield the body of a response in chunks, with a progress bar on a terminal.

    Raises:
        TransferError: the connection is lost or too slow.
        CheckpointError: the body is too large for weights.
    """
    length = response.headers.get("Content-Length", "")
    if size is None and length.isdecimal():
        size = int(length)
    received = received_before = 0
    window = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=size)
        while True:
            try:
                chunk = response.read1(CHUNK)  # read() would block until the whole chunk has arrived
            except (OSError, http.client.HTTPException) as error:
                raise TransferError(error) from None
            if not chunk:
                break
            received += len(chunk)
            if max(received, size or 0) > MAX_WEIGHTS_BYTES:
                raise CheckpointError(f"{url}: is larger than {MAX_WEIGHTS_BYTES >> 30} GiB, too large for weights")
            if time.monotonic() - window > SLOW_WINDOW:
                if received - received_before < SLOWEST * SLOW_WINDOW:
                    raise TransferError("the download is too slow")
                window, received_before = time.monotonic(), received
            progress.update(bar, completed=received)
            yield chunk
    if size is not None and received != size:
        raise TransferError(f"truncated after {received} of {size} bytes")
