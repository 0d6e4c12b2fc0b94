"""The options that turn probabilities into a mask: thresholds, refusal, smallest regions. Importable without torch.

A prediction takes these steps, in this order:

1. The probabilities of test-time augmentation, windows and models (an ensemble) are averaged.
2. `smooth` averages them over the frames of a video, see `segnet.inference.smoothing`, and the temperature of the model
   calibrates them, see `segnet.models.temperature`.
3. `threshold` gives each pixel its class; without it, the most probable one.
4. `refuse` replaces the class of unsure pixels by the ignored label.
5. `min_area` replaces small regions by their surroundings.

Everything written comes from the mask of step 5: class ids, overlay, polygons, class fractions. The kinds confidence
and probabilities show step 2. `segnet.inference.refining` takes steps 3 to 5.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from segnet.errors import ConfigError

Given = str | Sequence[str] | Mapping[str, object] | int | None  # an option's value: as text, or as in Python
BY_CLASS = re.compile(r"\s*(.+?)\s*=\s*([^=,]*?)\s*(?:,|$)")  # one CLASS=NUMBER; names may have commas and equal signs
WITHOUT_CLASS = re.compile(r"\s*([^=,]*?)\s*(?:,|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """Options of steps 3 to 5, for any model. `segnet.inference.refining.Refiner` applies them to the classes of one.

    Attributes:
        threshold: by class name, the probability from which a pixel gets the class, above 0, at most 1. If several
            classes reach theirs, the one with the largest ratio of probability and threshold wins (the first of equal
            ones). If none does, the most probable class without a threshold wins. If every class has one, the pixel
            gets the ignored label. With several classes per pixel (task=multilabel), it replaces the class's threshold
            that the model stores; the other options need one class per pixel.
        refuse: pixels whose largest probability is below get the ignored label, 0-1; 0: none.
        min_area: smallest region [pixels]; smaller ones get the label of their surroundings, as defined in
            `segnet.images.regions.fill_small_regions`. Regions of the ignored label are never replaced, but small
            regions beside them may get that label. 0: all stay.
        class_min_area: by class name, another smallest region than `min_area` [pixels].

    Raises:
        ConfigError: a value is out of its range.
    """

    threshold: Mapping[str, float] = field(default_factory=dict)
    refuse: float = 0.0
    min_area: int = 0
    class_min_area: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.threshold.items():
            if not 0 < value <= 1:
                raise ConfigError(f"threshold={name}={value:g} must be a probability above 0, at most 1")
        if not 0 <= self.refuse <= 1:
            raise ConfigError(f"refuse={self.refuse:g} must be a probability, 0-1")
        areas = {"": self.min_area, **{f"{name}=": area for name, area in self.class_min_area.items()}}
        for prefix, area in areas.items():
            if not 0 <= area < 2**62:
                raise ConfigError(f"min_area={prefix}{area} must be 0 pixels or more")

    @classmethod
    def read(cls, *, threshold: Given = None, refuse: float | None = None, min_area: Given = None) -> "Refinement":
        """Read options as users give them.

        Args:
            threshold: "disk=0.3,ring=0.6", a list of such texts, or a mapping; None: none.
            refuse: a probability; None: 0.
            min_area: a number, "50", "50,disk=10", a list of such texts, or a mapping from class names; None: 0.

        Raises:
            ConfigError: not of this form, or a value is out of its range.
        """
        by_class = dict(_by_class_values("threshold", threshold))
        if None in by_class:
            raise ConfigError(f"threshold={by_class[None]} names no class: write threshold=CLASS={by_class[None]}")
        areas = {name: _whole(name, value) for name, value in _by_class_values("min_area", min_area)}
        return cls(
            threshold={str(name): _as_number(f"threshold={name}", value) for name, value in by_class.items()},
            refuse=0.0 if refuse is None else _as_number("refuse", refuse),
            min_area=areas.pop(None, 0),
            class_min_area={str(name): area for name, area in areas.items()},
        )

    def changed(self, **given: Given | float) -> "Refinement":
        """A copy with other values of some options, as `read` takes them; the others stay.

        Raises:
            ConfigError: not of the form, or a value is out of its range.
        """
        read = Refinement.read(**given)  # type: ignore[arg-type]  # each option has its own type
        names = [*given, *(["class_min_area"] if "min_area" in given else [])]
        return replace(self, **{name: getattr(read, name) for name in names})

    @property
    def needs_probabilities(self) -> bool:
        """Whether logits are not enough."""
        return bool(self.threshold) or self.refuse > 0

    @property
    def is_by_region(self) -> bool:
        """Whether a whole mask is needed, not a tile."""
        return self.min_area > 1 or any(area > 1 for area in self.class_min_area.values())

    def by_pixel(self) -> "Refinement":
        """A copy without step 5, for tiles."""
        return replace(self, min_area=0, class_min_area={})

    def to_dict(self) -> dict[str, object]:
        """The options that are set, as builtins, for records and results; empty by default."""
        areas = {"": self.min_area, **self.class_min_area} if self.class_min_area else self.min_area
        options = {"threshold": dict(self.threshold), "refuse": self.refuse, "min_area": areas}
        return {name: value for name, value in options.items() if value}


def _by_class_values(option: str, given: Given) -> Iterator[tuple[str | None, object]]:
    """The values of an option by class; None stands for all classes.

    Raises:
        ConfigError: the text is not of the form.
    """
    if given is None:
        return
    if isinstance(given, Mapping):
        yield from given.items()
        return
    if not isinstance(given, str | list | tuple):
        yield None, given
        return
    for text in [given] if isinstance(given, str) else given:
        rest = str(text)
        while rest.strip():
            single = WITHOUT_CLASS.match(rest)
            if single and _is_number(single[1]):
                yield None, single[1]
                rest = rest[single.end() :]
            elif (found := BY_CLASS.match(rest)) and _is_number(found[2]):
                yield found[1], found[2]
                rest = rest[found.end() :]
            else:
                form = "CLASS=0.3,OTHER=0.6" if option == "threshold" else "PIXELS or PIXELS,CLASS=PIXELS"
                raise ConfigError(f"{option}={text}: write {option}={form}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _as_number(option: str, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever is no number is reported
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number):
        raise ConfigError(f"{option}={value} must be a number")
    return number


def _whole(name: str | None, value: object) -> int:
    option = "min_area" if name is None else f"min_area={name}"
    number = _as_number(option, value)
    if not number.is_integer():
        raise ConfigError(f"{option}={value} must be a whole number of pixels")
    return int(number)
