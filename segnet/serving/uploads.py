"""Uploaded images: received into a file under limits of size and rate, read under a limit of pixels."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from segnet.errors import MachineError
from segnet.images.bands import read_bands
from segnet.images.formats import IMAGE_CONTENT_TYPES, TIFF_STARTS
from segnet.images.header import TooManyPixelsError, read_header
from segnet.images.values import Bands, ValueRange
from segnet.serving.jobs import QueueFullError

MAX_UPLOADS = 32  # under way at a time; with the largest body they bound the space on disk
MIN_RATE = 8192.0  # [bytes / second]
MAX_GAP = 10.0  # between two chunks, and before the rate counts [seconds]
GRACE_SECONDS = 1.0  # after which a slow upload may be given up for another
# None of these a page of another site can send without asking first, which this server never allows.
CONTENT_TYPES = (*IMAGE_CONTENT_TYPES, "application/octet-stream")


def require_content_type(request: Request) -> None:
    """Raises:
    HTTPException: the body has the content type of something else than an image.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise HTTPException(
            415,
            f"Content-Type '{content_type}' is not taken: send the image's bytes themselves, as one of "
            f"{', '.join(CONTENT_TYPES)}",
        )


class Reception:
    """The uploads under way. Above MAX_UPLOADS the slowest gives way to a new one, if it is below MIN_RATE."""

    def __init__(self) -> None:
        self._uploads: list[Upload] = []

    @contextmanager
    def upload(self) -> Iterator["Upload"]:
        """An upload to be received within the context.

        Raises:
            QueueFullError: as many as possible are under way, and none of them is slow.
        """
        if len(self._uploads) >= MAX_UPLOADS:
            slowest = min(self._uploads, key=lambda upload: upload.rate)
            if not slowest.give_way():
                raise QueueFullError(1)
            self._uploads.remove(slowest)
        upload = Upload()
        self._uploads.append(upload)
        try:
            yield upload
        finally:
            if upload in self._uploads:
                self._uploads.remove(upload)


class Upload:
    """A request's body on its way into a file."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._size = 0
        self._limit: asyncio.Timeout | None = None

    @property
    def rate(self) -> float:
        """Average since the start; of an upload that has just begun it is infinite [bytes / second]."""
        seconds = time.monotonic() - self._started
        return self._size / seconds if seconds >= GRACE_SECONDS else float("inf")

    def give_way(self) -> bool:
        """End the upload if it is too slow; whether it is."""
        if self._limit is None or self.rate >= MIN_RATE:
            return False
        self._limit.reschedule(asyncio.get_running_loop().time())
        return True

    async def receive(self, request: Request, folder: Path, max_bytes: int, deadline: float) -> Path:
        """Write the body into a file, named by its content: readers of TIFF go by the suffix.

        Args:
            request: its body must arrive at MIN_RATE or faster after the first MAX_GAP seconds, without longer gaps.
            folder: for the file.
            max_bytes: of the body.
            deadline: for the last byte, on `time.monotonic`'s clock [seconds].

        Raises:
            HTTPException: it is empty, too large or too slow. ClientDisconnect: it ended early.
            MachineError: the disk refuses it.
        """
        too_large = HTTPException(413, f"the file has more than {max_bytes / 1e6:g} MB: scale it down")
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise too_large
        path = folder / "upload"
        started, size, start = time.monotonic(), 0, b""
        clock = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(min(MAX_GAP, deadline - started)) as self._limit:
                with open(path, "wb") as file:
                    async for chunk in request.stream():
                        size += len(chunk)
                        if size > max_bytes:
                            raise too_large
                        start = start if len(start) >= 4 else start + chunk[:4]
                        file.write(chunk)
                        self._size, now = size, time.monotonic()
                        latest = min(deadline, now + MAX_GAP, started + MAX_GAP + size / MIN_RATE)
                        self._limit.reschedule(clock() + latest - now)
        except TimeoutError:
            message = "the image did not arrive within the server's time limit, or too slowly"
            raise HTTPException(408, message, {"Connection": "close"}) from None
        except OSError as error:
            raise MachineError(f"the server cannot store the image ({error.strerror})") from None
        if size == 0:
            raise HTTPException(400, "the body is empty: send the bytes of an image")
        return path.rename(path.with_suffix(".tif")) if start[:4] in TIFF_STARTS else path


def read_upload(path: Path, channels: int, max_pixels: int, value_range: ValueRange | None = None) -> Bands:
    """Read an uploaded image whose header is within the limit of pixels.

    Returns:
        (H, W, channels), as `segnet.images.bands.read_bands` gives it.

    Raises:
        HTTPException: too many pixels. DataError: not usable.
    """
    try:
        header = read_header(path)
    except TooManyPixelsError:  # its advice is an option of the command line
        raise HTTPException(413, f"the image has more than {max_pixels / 1e6:g} megapixels: scale it down") from None
    if header.num_pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        message = f"the image has {size} pixels, more than {max_pixels / 1e6:g} megapixels: scale it down"
        raise HTTPException(413, message)
    return read_bands(path, channels, value_range)
