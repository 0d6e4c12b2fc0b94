"""The classes of a dataset: names, colors, ignore_index, and whether a pixel has one or several. Each checkpoint stores
them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from segnet.errors import ConfigError

MAX_LABEL = 65535  # the largest value of a 16-bit mask
MULTICLASS, MULTILABEL = "multiclass", "multilabel"  # a pixel has one class; a pixel has any number of classes
TASKS = (MULTICLASS, MULTILABEL)
IGNORED_IN_PLANE = 255  # value of ignored pixels in the planes of multilabel masks
MAX_PLANES = 255  # most classes of a multilabel mask
DEFAULT_THRESHOLD = 0.5
THRESHOLD_STEPS = 1024  # thresholds are multiples of its inverse; float32 represents them exactly

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

    The task is the relation of pixels and classes. "multiclass": masks are (H, W) class ids. "multilabel": masks are
    planes (classes, H, W) of 0, 1 and `IGNORED_IN_PLANE`, and classes may overlap.

    Raises:
        ConfigError: no names, a duplicate name, different numbers of colors and names, a color that is not three
            values of 0-255, an `ignore_index` that is a class id or not a 16-bit value, an unknown task, or thresholds
            that do not fit.
    """

    names: tuple[str, ...]
    palette: tuple[Color, ...]  # RGB, 0-255, one a class
    ignore_index: int = 255
    task: str = MULTICLASS
    thresholds: tuple[float, ...] = ()  # of a trained multilabel model: smallest probability of each class, 0-1

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
        self._check_task()
        if self.ignore_index < len(self.names) and not self.is_multilabel:
            raise ConfigError(
                f"ignore_index={self.ignore_index} is the id of class '{self.names[self.ignore_index]}': "
                f"use a value of {len(self.names)} or more"
            )

    def _check_task(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"task={self.task} is unknown: choose from {', '.join(TASKS)}")
        if self.is_multilabel and self.ignore_index != IGNORED_IN_PLANE:
            raise ConfigError(
                f"ignore_index={self.ignore_index}: the planes of multilabel masks use {IGNORED_IN_PLANE}"
            )
        if self.is_multilabel and len(self.names) > MAX_PLANES:
            raise ConfigError(f"{len(self.names)} classes: a multilabel mask can have at most {MAX_PLANES}")
        given = len(self.thresholds)
        if given and (not self.is_multilabel or given != len(self.names)):
            raise ConfigError(f"{given} thresholds for {len(self.names)} {self.task} classes: give one a class")
        if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in self.thresholds):
            raise ConfigError(f"thresholds={list(self.thresholds)} must be probabilities, 0-1")

    @property
    def is_multilabel(self) -> bool:
        """Whether a pixel may have several classes, or none."""
        return self.task == MULTILABEL

    @property
    def decision_thresholds(self) -> tuple[float, ...]:
        """The probability from which a pixel has a class, of each class of a multilabel model."""
        return self.thresholds or (DEFAULT_THRESHOLD,) * len(self.names)

    @property
    def num_ids(self) -> int:
        """Number of values, from 0, that a transform may put into a mask: class ids, or only "no class" of planes."""
        return 1 if self.is_multilabel else len(self.names)

    def require_one_class(self, what: str) -> None:
        """Check that a pixel has exactly one class.

        Args:
            what: the option or command that needs it.

        Raises:
            ConfigError: a pixel may have several classes.
        """
        if self.is_multilabel:
            raise ConfigError(f"{what} needs one class per pixel, but here classes overlap (task={MULTILABEL})")

    def mask_shape(self, size: Sequence[int]) -> tuple[int, ...]:
        """The shape of a mask of (height, width) pixels: that size, or (classes, height, width)."""
        return (len(self.names), *size) if self.is_multilabel else tuple(size)

    @classmethod
    def create(
        cls,
        names: Sequence[str],
        palette: Sequence[Sequence[int]] | None = None,
        ignore_index: int = 255,
        task: str = MULTICLASS,
        thresholds: Sequence[float] = (),
    ) -> "Classes":
        """Create classes from plain lists; without a palette, colors are chosen."""
        colors = voc_palette(len(names)) if palette is None else tuple(tuple(color) for color in palette)
        # __post_init__ checks the lengths
        return cls(tuple(names), colors, ignore_index, task, tuple(thresholds))  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return the classes as builtins, as checkpoints store them; `create(**classes.to_dict())` is the inverse."""
        record: dict[str, Any] = {
            "names": list(self.names),
            "palette": [list(color) for color in self.palette],
            "ignore_index": self.ignore_index,
        }
        # Left out otherwise: what multiclass models store has not changed, and older versions read it.
        return record | ({"task": self.task, "thresholds": list(self.thresholds)} if self.is_multilabel else {})
