"""Build albumentations transforms from the specs of data.augment: ``{"name": class, **its arguments}``.

albumentations only warns of unknown arguments, and fills borders of masks with class 0. Here names and arguments are
looked up, and borders are ignored. The table is closed, as those of all components: a spec cannot name other code.
"""

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import albumentations as A

from segnet.components import check_options, nearest
from segnet.errors import ConfigError

COMPOSITIONS: dict[str, Any] = {
    "OneOf": A.OneOf,
    "SomeOf": A.SomeOf,
    "RandomOrder": A.RandomOrder,
    "Sequential": A.Sequential,
}
REFUSED = {
    "Normalize ToFloat FromFloat ToTensorV2": "the model takes values of 0-255 and normalizes them itself",
    "FDA HistogramMatching PixelDistributionAdaptation Mosaic OverlayElements TextImage": (
        "it needs further images; data.cutmix mixes the crops of a batch"
    ),
    "AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop RandomCropNearBBox RandomSizedBBoxSafeCrop": "it needs boxes",
    "FrequencyMasking TimeMasking TimeReverse": "it is for spectrograms",
    "Morphological": "it lets higher class ids grow over lower ones",
    "Lambda": "it needs Python functions",
    "Compose ReplayCompose": "the list is one already: write Sequential within it",
    "OneOrOther SelectiveChannelTransform": "choose OneOf, SomeOf, RandomOrder or Sequential",
}
WHY_REFUSED = {name: reason for names, reason in REFUSED.items() for name in names.split()}
MOST_CHANNELS_FILLED = 4  # OpenCV takes no longer list of border values
LONGEST_REASON = 140  # of an error of albumentations [characters]


def _transforms() -> dict[str, Any]:
    """The transforms of images with masks, by name."""
    bases = (A.ImageOnlyTransform, A.DualTransform)
    found = {name: value for name, value in vars(A).items() if isinstance(value, type) and issubclass(value, bases)}
    return {
        name: value
        for name, value in found.items()
        if value not in bases and not issubclass(value, A.Transform3D) and name not in WHY_REFUSED
    }


TRANSFORMS: dict[str, Any] = _transforms()
KNOWN = {**TRANSFORMS, **COMPOSITIONS}


@dataclass(frozen=True, slots=True)
class Borders:
    """What a geometric transform puts where it has no image.

    Attributes:
        fill: value of each channel, in the range of the image's type.
        white: the largest value of the image's type: 255 or 1.
        ignore_index: mask value.
    """

    fill: Sequence[float]
    white: float
    ignore_index: int


def build_transform(where: str, spec: Mapping[str, Any], borders: Borders) -> Any:
    """Build a transform.

    Args:
        where: place of the spec for messages: "data.augment[0]".
        spec: a spec that `require_spec` has checked.

    Raises:
        ConfigError: albumentations refuses the value of an argument.
    """
    options = {key: value for key, value in spec.items() if key != "name"}
    if spec["name"] in COMPOSITIONS:
        options["transforms"] = [
            build_transform(place, inner, borders) for place, inner in inner_specs(where, spec["transforms"])
        ]
    else:
        options = _with_borders(spec["name"], options, borders)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of arguments: they are checked; of deprecation
            return KNOWN[spec["name"]](**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {spec['name']}: {short_reason(error)}") from None


def _with_borders(name: str, options: Mapping[str, Any], borders: Borders) -> dict[str, Any]:
    """Add the fill values of a geometric transform; albumentations' own are 0: black, and the first class."""
    parameters = inspect.signature(KNOWN[name]).parameters
    found = dict(options)
    given = options.get("fill")
    if isinstance(given, int | float):
        found["fill"] = given * borders.white / 255  # options are in 0-255, like all values here
    elif isinstance(given, list | tuple):
        found["fill"] = [value * borders.white / 255 for value in given]
    if "fill_mask" in parameters and parameters["fill_mask"].default is not None:  # None: the mask stays as it is
        fill = list(borders.fill)
        found.setdefault("fill_mask", borders.ignore_index)
        found.setdefault("fill", fill if len(fill) <= MOST_CHANNELS_FILLED else sum(fill) / len(fill))
    return found


def require_spec(where: str, spec: Any) -> None:
    """Check the names in a spec: of the transform and its arguments, and of those within it.

    Raises:
        ConfigError: a name is unknown, or its transform does not suit images with masks.
    """
    example = "{name: GaussNoise, p: 0.3}"
    if not isinstance(spec, Mapping):
        raise ConfigError(f"{where}={spec}: a transform is written {example}")
    name = spec.get("name")
    if not isinstance(name, str):
        found = next(iter(spec), "")
        written = f"{{name: {found}, p: 0.3}}" if found in KNOWN else example
        raise ConfigError(f"{where}={dict(spec)}: name is missing: write {written}")
    if name in WHY_REFUSED:
        raise ConfigError(f"{where}: {name} cannot be used: {WHY_REFUSED[name]}")
    if name not in KNOWN:
        raise ConfigError(f"{where}.name={name}: albumentations has no such transform.{nearest(name, KNOWN)}")
    options = {str(key): value for key, value in spec.items() if key != "name"}
    if isinstance(options.get("args"), Mapping):
        raise ConfigError(f"{where}.args: write the arguments of {name} beside its name: {example}")
    check_options(where, name, KNOWN[name], options)
    for place, inner in inner_specs(where, spec.get("transforms", []) if name in COMPOSITIONS else []):
        require_spec(place, inner)


def inner_specs(where: str, inner: Any) -> Iterator[tuple[str, Any]]:
    """Yield the specs within a group, each with its place.

    Raises:
        ConfigError: not a list, or an empty one.
    """
    if not isinstance(inner, list | tuple):
        raise ConfigError(f"{where}.transforms={inner}: must be a list of transforms")
    for number, spec in enumerate(inner):
        yield f"{where}.transforms[{number}]", {"name": spec} if isinstance(spec, str) else spec


def short_reason(error: Exception) -> str:
    """Return the first sentence of an error of albumentations, pydantic or OpenCV, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "validation error" in lines[0] and len(lines) > 2:  # pydantic: the field, then its reason
        lines = [f"{lines[1]}: {lines[2].partition(' [type=')[0]}"]
    return lines[0][:LONGEST_REASON]
