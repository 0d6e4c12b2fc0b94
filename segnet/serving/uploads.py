"""Pictures that come in by HTTP: received into a file under a limit of bytes, read under a limit of pixels."""

import asyncio
import time
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from segnet.errors import MachineError
from segnet.images.bands import read_bands
from segnet.images.formats import IMAGE_CONTENT_TYPES, TIFF_STARTS
from segnet.images.header import read_header
from segnet.images.values import Bands

# None of these a page of another site can send without asking first, which this server never allows.
CONTENT_TYPES = (*IMAGE_CONTENT_TYPES, "application/octet-stream")


def require_content_type(request: Request) -> None:
    """Raises:
    HTTPException: the body is said to be something else than a picture.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in CONTENT_TYPES:
        raise HTTPException(
            415,
            f"Content-Type '{content_type}' is not taken: send the picture's bytes themselves, as one of "
            f"{', '.join(CONTENT_TYPES)}",
        )


async def receive_upload(request: Request, folder: Path, max_bytes: int, deadline: float) -> Path:
    """Writes a request's body into a file, named by what it is: readers of TIFF go by the suffix.

    Args:
        deadline: until when it must have come, on `time.monotonic`'s clock [seconds].

    Raises:
        HTTPException: it is empty, too large or too slow. ClientDisconnect: it ended early.
        MachineError: the disk refuses it.
    """
    too_large = HTTPException(413, f"the file has more than {max_bytes / 1e6:g} MB: scale it down")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large
    path = folder / "upload"
    size, start = 0, b""
    try:
        async with asyncio.timeout(deadline - time.monotonic()):
            with open(path, "wb") as file:
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > max_bytes:
                        raise too_large
                    start = start if len(start) >= 4 else start + chunk[:4]
                    file.write(chunk)
    except TimeoutError:
        message = "the picture did not arrive within the server's time limit"
        raise HTTPException(408, message, {"Connection": "close"}) from None
    except OSError as error:
        raise MachineError(f"the server cannot keep the picture ({error.strerror})") from None
    if size == 0:
        raise HTTPException(400, "the body is empty: send the bytes of a picture")
    return path.rename(path.with_suffix(".tif")) if start[:4] in TIFF_STARTS else path


def read_upload(path: Path, channels: int, max_pixels: int) -> Bands:
    """Reads a picture whose head promises no more pixels than are allowed.

    Returns:
        (H, W, channels), as `segnet.images.bands.read_bands` gives it.

    Raises:
        HTTPException: too many pixels. DataError: not usable.
    """
    header = read_header(path)
    _require_pixels(header.width, header.height, max_pixels)
    return read_bands(path, channels)


def _require_pixels(width: int, height: int, most: int) -> None:
    if width * height > most:
        told = f"the picture has {width} x {height} pixels, more than {most / 1e6:g} megapixels: scale it down"
        raise HTTPException(413, told)
