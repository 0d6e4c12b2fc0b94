"""Band statistics of images (range, mean, standard deviation), and the value range for images of low contrast."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.images.values import ValueRange

LITTLE = 0.25  # fraction of the range below which images are almost uniform to a network
TAILS = (0.1, 99.9)  # percentiles used as darkest and brightest value, to exclude single hot pixels
ROUNDING = 1e-3  # largest standard deviation of a constant band, from statistics of 6 digits
MAX_VALUES = 250_000  # sampled pixels per image


@dataclass(frozen=True, slots=True)
class BandValues:
    """Statistics of bands, for values scaled to 0-1.

    Attributes:
        low, high: darkest and brightest value per band.
        mean, square: mean of the values and mean of their squares, per band.
    """

    low: list[float]
    high: list[float]
    mean: list[float]
    square: list[float]

    @property
    def std(self) -> list[float]:
        """Standard deviation per band."""
        return [max(0.0, square - mean * mean) ** 0.5 for mean, square in zip(self.mean, self.square, strict=True)]

    def within(self, low: float, high: float) -> "BandValues":
        """Rescale the statistics so that `low` and `high` become 0 and 1."""
        width = high - low
        lows, highs, means = ([(value - low) / width for value in row] for row in (self.low, self.high, self.mean))
        squares = [
            (square - 2 * low * mean + low * low) / width**2
            for square, mean in zip(self.square, self.mean, strict=True)
        ]
        return BandValues(lows, highs, means, squares)

    @property
    def divisors(self) -> list[float]:
        """Standard deviations to divide by: 1 for a constant band, such as the alpha channel of opaque images."""
        rows = zip(self.std, self.low, self.high, strict=True)
        return [std if std > ROUNDING or (std > 0 and high > low) else 1.0 for std, low, high in rows]

    @property
    def spread(self) -> float:
        """The part of the range that all bands together fill, 0-1."""
        return max(self.high) - min(self.low)

    @property
    def is_little(self) -> bool:
        """Whether all bands together fill little of the range, but more than one value of it."""
        return 0 < self.spread < LITTLE


def measured(image: NDArray[Any], full: float = 255) -> list[list[float]]:
    """Measure an image (H, W, channels) of values 0 to `full`: rows low, high, mean, square as in `BandValues`."""
    values = _sampled(image).astype(np.float64) / full
    low, high = np.percentile(values, TAILS, axis=0)
    rows = (low, high, values.mean(axis=0), np.square(values).mean(axis=0))
    return [[float(f"{value:.6g}") for value in row.tolist()] for row in rows]


def pooled(images: Sequence[Sequence[Sequence[float]]]) -> BandValues | None:
    """Combine the statistics of several images with the same bands; None without images."""
    rows = [np.array(image) for image in images if len(image) == 4]
    rows = [row for row in rows if row.shape == rows[0].shape and row.size]
    if not rows:
        return None
    every = np.stack(rows)
    return BandValues(
        every[:, 0].min(axis=0).tolist(),
        every[:, 1].max(axis=0).tolist(),
        every[:, 2].mean(axis=0).tolist(),
        every[:, 3].mean(axis=0).tolist(),
    )


def fill_little(values: Sequence[Sequence[float]]) -> bool:
    """Return True if an image fills little of its range, from its `measured` values."""
    found = pooled([values])
    return found is not None and found.spread < LITTLE


def stored_limits(values: NDArray[Any], full: float) -> list[float]:
    """Return the darkest and brightest stored value, and the value of white: [low, high, full]."""
    low, high = np.percentile(_sampled(values), TAILS)
    return [float(low), float(high), full]


def common_range(limits: Sequence[Sequence[float]]) -> ValueRange | None:
    """Return the value range that covers the stored limits of all images; integers stay integers; None without any."""
    known = [limit for limit in limits if limit]
    if not known:
        return None
    low, high = min(limit[0] for limit in known), max(limit[1] for limit in known)
    whole = known[0][2] > 1
    low, high = (float(np.floor(low)), float(np.ceil(high))) if whole else (low, high)
    return float(f"{low:.6g}"), float(f"{max(high, low + (1 if whole else 1e-6)):.6g}")


def value_range_option(limits: Sequence[Sequence[float]]) -> str:
    """Format the option dataset.value_range for the stored limits of images; empty without any."""
    found = common_range(limits)
    return f'"dataset.value_range=[{found[0]:.6g},{found[1]:.6g}]"' if found else ""


def _sampled(image: NDArray[Any]) -> NDArray[Any]:
    flat = image.reshape(-1, image.shape[-1])
    return flat[:: max(1, len(flat) // MAX_VALUES)]
