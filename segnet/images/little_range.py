"""A warning about integer images that fill little of their range, for models without a value range."""

import threading
from pathlib import Path

from segnet.errors import DataError
from segnet.images.bands import read_channels
from segnet.images.header import read_header, read_tiff_layouts
from segnet.images.tiff.tags import SampleFormat
from segnet.images.values import Bands, ValueRange

ALMOST_BLACK = 0.25  # fraction of the range below which an image is almost black to a network
INTEGERS = (SampleFormat.UNSIGNED, SampleFormat.SIGNED, SampleFormat.VOID)
DEPTH_OF_PNG = 24  # offset of the byte with the bits per sample


class LittleRange:
    """Warns once, at the first image of more than 8 bits whose values fill little of their range. Thread-safe.

    Args:
        value_range: that of the model; with one, there is no warning.
    """

    def __init__(self, value_range: ValueRange | None) -> None:
        self._lock = threading.Lock()
        self._is_done = value_range is not None

    def warning(self, path: Path, image: Bands) -> str:
        """Return the warning without the name of the file; empty without one.

        Args:
            path: the file.
            image: the result of `segnet.images.bands.read_bands`, 0-255.
        """
        if self.may_warn(path, image.max().item()):
            found = read_channels(path, image.shape[2])
            return self.of_stored(found.values.max().item(), found.full)
        return ""

    def may_warn(self, path: Path, brightest: float) -> bool:
        """Whether the stored values of a file are worth reading.

        Args:
            brightest: the largest value of the scaled image, 0-255.
        """
        return not self._is_done and 0 < brightest < 255 * ALMOST_BLACK and _is_deep(path)

    def of_stored(self, high: float, full: float) -> str:
        """Return the warning for stored values; empty without one.

        Args:
            high: the largest value.
            full: the value of white: 1 for floating point.
        """
        if self._is_done or full <= 255 or not 0 < high < full * ALMOST_BLACK:
            return ""
        with self._lock:
            if self._is_done:
                return ""
            self._is_done = True
        return (
            f"its largest value is {high:g} of {full:g}, almost black to a model without a value range: unless "
            f'it was trained on such images, train with "dataset.value_range=[0,{high:.0f}]", or convert to 8 bits'
        )


def _is_deep(path: Path) -> bool:
    """Whether an image has integers of more than 8 bits, from its header."""
    try:
        if layouts := read_tiff_layouts(path, most=1):
            return layouts[0].bits > 8 and layouts[0].sample_format in INTEGERS
        header = read_header(path)
        with open(path, "rb") as file:
            start = file.read(DEPTH_OF_PNG + 1)
    except (DataError, OSError):
        return False
    if header.format == "PNG":
        return start[-1] > 8
    return header.num_bytes > header.num_pixels * header.num_bands
