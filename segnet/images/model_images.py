"""Read images for a trained model, whose options cannot be changed any more."""

import logging
from pathlib import Path

from segnet.images.bands import read_bands, read_warnings, scale_channels
from segnet.images.convert import ImageLike, as_channels, source_of
from segnet.images.little_range import LittleRange
from segnet.images.values import Bands, ValueRange, for_trained_model

log = logging.getLogger(__name__)


class ModelImages:
    """Reads images for a trained model. Thread-safe.

    Args:
        channels, value_range: those of the model.

    Attributes:
        little_range: warns once of images that are almost black to the model.
    """

    def __init__(self, channels: int, value_range: ValueRange | None) -> None:
        self.channels, self.value_range = channels, value_range
        self.little_range = LittleRange(value_range)

    def read(self, path: Path) -> Bands:
        """Read an image: (H, W, channels), 0-255, as `segnet.images.bands.read_bands`.

        Raises:
            DataError: not an image for this model.
        """
        with for_trained_model():
            return read_bands(path, self.channels, self.value_range)

    def convert(self, image: ImageLike) -> Bands:
        """Convert an image as `segnet.images.convert.as_bands`; one that is almost black to the model is logged.

        Raises:
            DataError: not an image for this model.
        """
        with for_trained_model():
            found = as_channels(image, self.channels, self.value_range)
            converted = scale_channels(found, source_of(image), self.value_range)
        if warning := self.little_range.of_stored(found.values.max().item(), found.full):
            log.warning("%s: %s", source_of(image), warning)
        return converted

    def warnings(self, path: Path, image: Bands) -> list[str]:
        """Return warnings about an image, without its name.

        Args:
            path: the file.
            image: the result of `read`.
        """
        little = filter(None, [self.little_range.warning(path, image)])
        return [*little, *read_warnings(path, image, self.value_range)]
