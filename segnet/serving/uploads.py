"""Uploaded images: limits of size and rate while receiving, and of pixels while reading."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from segnet.components import did_you_mean
from segnet.errors import ConfigError, MachineError
from segnet.images.formats import IMAGE_CONTENT_TYPES, TIFF_STARTS, reads_heif
from segnet.images.header import TooManyPixelsError, read_header
from segnet.images.model_images import ModelImages
from segnet.images.values import Bands
from segnet.serving.jobs import QueueFullError

MAX_UPLOADS = 32  # concurrent uploads; with the size limit this bounds the disk space
MIN_RATE = 8192.0  # [bytes / second]
MAX_GAP = 10.0  # between two chunks, and before the rate is enforced [seconds]
GRACE_SECONDS = 1.0  # before a slow upload may be aborted for another
# A page of another site cannot send these types without a CORS preflight, which this server never allows.
CONTENT_TYPES = (*IMAGE_CONTENT_TYPES, "application/octet-stream")


def require_content_type(request: Request) -> None:
    """Check the content type of a request.

    Raises:
        HTTPException: it is not that of an image.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        supported = [name for name in CONTENT_TYPES if reads_heif() or name not in ("image/heic", "image/heif")]
        raise HTTPException(
            415,
            f"Content-Type '{content_type}' is not supported: send the bytes of an image, as one of "
            f"{', '.join(supported)}",
        )


@dataclass(frozen=True, slots=True)
class Target:
    """What a request to save an image asks for. Its body is the image's file, followed by the mask's PNG.

    Attributes:
        image_bytes: size of the image's file [bytes].
        name: name of the image's file.
        replace: name of the same image in the folder, whose mask is replaced; None: a new name.
    """

    image_bytes: int
    name: str = "image"
    replace: str | None = None

    @classmethod
    def read(cls, query: Mapping[str, str]) -> "Target":
        """Read the query of a request.

        Raises:
            ConfigError: an unknown, missing or invalid parameter.
        """
        known = ("image_bytes", "name", "replace")
        for key in query:
            if key not in known:
                raise ConfigError(f"{key}: no such parameter.{did_you_mean(key, known)}")
        size = query.get("image_bytes", "")
        if not size.isascii() or not size.isdecimal() or not 0 < int(size[:19]) < 10**18:
            raise ConfigError(f"image_bytes={size} must be the size of the image's file, which precedes the mask's")
        return cls(int(size), query.get("name", "image"), query.get("replace"))


def split_body(path: Path, image_bytes: int) -> tuple[Path, Path]:
    """Cut the mask off an uploaded image.

    Args:
        path: an image's file, followed by a mask's PNG.
        image_bytes: size of the image's file [bytes].

    Returns:
        The files of the image and of the mask.

    Raises:
        HTTPException: there is no mask. MachineError: the files cannot be written.
    """
    if path.stat().st_size <= image_bytes:
        raise HTTPException(400, "the body has no mask: send the image's file, followed by the mask's PNG")
    mask = path.with_name("mask.png")
    try:
        with open(path, "r+b") as file, open(mask, "wb") as rest:
            file.seek(image_bytes)
            shutil.copyfileobj(file, rest)
            file.truncate(image_bytes)
    except OSError as error:
        raise MachineError(f"the server cannot store the image ({error.strerror})") from None
    return path, mask


class Reception:
    """The uploads in progress. Above MAX_UPLOADS, the slowest is aborted for a new one if it is below MIN_RATE."""

    def __init__(self) -> None:
        self._uploads: list[Upload] = []

    @contextmanager
    def upload(self) -> Iterator["Upload"]:
        """An upload that is received inside the context.

        Raises:
            QueueFullError: MAX_UPLOADS are in progress, and none of them is slow.
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
    """The reception of a request body into a file."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._size = 0
        self._limit: asyncio.Timeout | None = None

    @property
    def rate(self) -> float:
        """Average rate since the start; infinite during GRACE_SECONDS [bytes / second]."""
        seconds = time.monotonic() - self._started
        return self._size / seconds if seconds >= GRACE_SECONDS else float("inf")

    def give_way(self) -> bool:
        """Abort the upload if it is too slow; return whether it was."""
        if self._limit is None or self.rate >= MIN_RATE:
            return False
        self._limit.reschedule(asyncio.get_running_loop().time())
        return True

    async def receive(
        self, request: Request, folder: Path, max_bytes: int, deadline: float, too_large_message: str
    ) -> Path:
        """Write the body into a file; its suffix depends on the content, because TIFF readers need it.

        Args:
            request: its body must arrive at MIN_RATE or faster after the first MAX_GAP seconds, without longer gaps.
            folder: folder for the file.
            max_bytes: largest body.
            deadline: for the last byte, on the clock of `time.monotonic` [seconds].
            too_large_message: the error above `max_bytes`.

        Raises:
            HTTPException: the body is empty, too large or too slow. ClientDisconnect: it ended early.
            MachineError: the file cannot be written.
        """
        too_large = HTTPException(413, too_large_message)
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


def read_upload(path: Path, images: ModelImages, max_pixels: int) -> Bands:
    """Read an uploaded image after checking its header against the pixel limit.

    Args:
        images: reads images for the model.

    Returns:
        (H, W, channels), see `segnet.images.bands.read_bands`.

    Raises:
        HTTPException: too many pixels. DataError: not a usable image.
    """
    try:
        header = read_header(path)
    except TooManyPixelsError:  # its message suggests tiles
        raise HTTPException(413, f"the image has more than {max_pixels / 1e6:g} megapixels: scale it down") from None
    if header.num_pixels > max_pixels:
        size = f"{header.width} x {header.height}"
        message = f"the image has {size} pixels, more than {max_pixels / 1e6:g} megapixels: scale it down"
        raise HTTPException(413, message)
    return images.read(path)
