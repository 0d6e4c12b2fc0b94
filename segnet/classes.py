"""The classes of a dataset: names, colors and ignore_index. Each checkpoint stores them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segnet.errors import ConfigError

MAX_LABEL = 65535  # the largest value of a 16-bit mask

BACKGROUND_NAMES = ("background", "_background_")

Color = tuple[int, int, int]


def is_background(name: str) -> bool:
    """Return True if a class is named background, in any case."""
    return name.strip().lower() in BACKGROUND_NAMES


def voc_palette(num_colors: int) -> tuple[Color, ...]:
    """Distinct colors for any number of classes: the color map of PASCAL VOC, starting after its black.

    Returns:
        `num_colors` RGB triples, 0-255.
    """
    colors = []
    for index in range(1, num_colors + 1):
        color = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                color[channel] |= ((index >> (3 * bit + channel)) & 1) << (7 - bit)
        colors.append((color[0], color[1], color[2]))
    return tuple(colors)


@dataclass(frozen=True, slots=True)
class Classes:
    """Class names in the order of their ids, their colors, and the mask value to ignore.

    Raises:
        ConfigError: no names, a duplicate name, different numbers of colors and names, a color that is not three
            values of 0-255, or an `ignore_index` that is a class id or not a 16-bit value.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]  # RGB, 0-255, one a class
    ignore_index: int = 255

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("class names are missing: name at least one class")
        for name in self.names:
            if not isinstance(name, str) or not name.strip():
                raise ConfigError(f"class name {name!r} is not a string: quote it in the list of class names")
            if any("\ud800" <= character <= "\udfff" for character in name):
                raise ConfigError(f"class name {name!r} is not valid Unicode: it contains a lone surrogate")
        repeated = sorted(name for name, count in Counter(self.names).items() if count > 1)
        if repeated:
            raise ConfigError(f"class name '{repeated[0]}' is duplicate: every class needs a unique name")
        if len(self.palette) != len(self.names):
            raise ConfigError(f"{len(self.palette)} colors for {len(self.names)} classes: give one color a class")
        for name, color in zip(self.names, self.palette, strict=True):
            if len(color) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in color):
                raise ConfigError(f"color {list(color)} of class '{name}' is not [red, green, blue] of 0-255")
        if len(self.names) > MAX_LABEL:
            raise ConfigError(f"{len(self.names)} classes: a mask can have at most {MAX_LABEL}")
        if not isinstance(self.ignore_index, int) or not 0 <= self.ignore_index <= MAX_LABEL:
            raise ConfigError(f"ignore_index={self.ignore_index} must be in 0-{MAX_LABEL}, the range of 16-bit masks")
        if self.ignore_index < len(self.names):
            raise ConfigError(
                f"ignore_index={self.ignore_index} is the id of class '{self.names[self.ignore_index]}': "
                f"use a value of {len(self.names)} or more"
            )

    @classmethod
    def create(
        cls, names: Sequence[str], palette: Sequence[Sequence[int]] | None = None, ignore_index: int = 255
    ) -> "Classes":
        """Create classes from plain lists; without a palette, colors are chosen."""
        colors = voc_palette(len(names)) if palette is None else tuple(tuple(color) for color in palette)
        return cls(tuple(names), colors, ignore_index)  # type: ignore[arg-type]  # __post_init__ checks the lengths

    def to_dict(self) -> dict[str, Any]:
        """Return the classes as builtins, as checkpoints store them; `create(**classes.to_dict())` is the inverse."""
        return {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
            "ignore_index": self.ignore_index,
        }
