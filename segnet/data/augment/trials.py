"""Try the transforms of data.augment on a crop before the training.

Only this shows whether a transform of albumentations takes images of these channels, keeps the size of a crop, and
leaves the class ids of the mask alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import albumentations as A
import numpy as np
from numpy.typing import NDArray

from segnet.data.augment.building import Borders, build_transform, inner_specs, short_reason
from segnet.data.augment.turns import TURNS
from segnet.errors import ConfigError

NUM_TRIALS = 4  # draws of each transform
CHOOSING = ("OneOf", "SomeOf", "RandomOrder")  # groups that apply some of their transforms
MASK_VALUES = ("fill_mask", "mask_drop_value")  # arguments that are class ids
UNUSUAL_IDS = (201, 77, 5)  # mask values of a trial; two of them are not the ignored label


def try_transform(
    where: str, spec: Mapping[str, Any], borders: Borders, crop_size: Sequence[int], num_classes: int
) -> None:
    """Apply a transform, or each of a group, to a crop of random values.

    Args:
        where: place of the spec for messages: "data.augment[0]".
        spec: a checked spec.
        borders: fill values; their number is that of the image's channels.
        crop_size: (height, width) [pixels].
        num_classes: number of classes.

    Raises:
        ConfigError: it fails, changes size or type, or puts ids into the mask that are no class.
    """
    for place, single in _single(where, spec):
        given = _mask_values(single)
        for key, value in given:
            if value not in range(num_classes) and value != borders.ignore_index:
                raise ConfigError(
                    f"{place}: {key}={value} is no class: leave it out for the ignored label {borders.ignore_index}, "
                    f"or set 0 to {num_classes - 1}"
                )
        _try(place, single, borders, crop_size, {value for _, value in given})


def _single(where: str, spec: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The transforms that may be applied alone; those of Sequential count together."""
    if spec["name"] in CHOOSING:
        for place, inner in inner_specs(where, spec["transforms"]):
            yield from _single(place, inner)
    else:
        yield where, spec


def _mask_values(spec: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The class ids among the arguments of a transform and those within it, with the arguments' names."""
    found = [(key, spec[key]) for key in MASK_VALUES if spec.get(key) is not None]
    return found + [value for _, inner in inner_specs("", spec.get("transforms", [])) for value in _mask_values(inner)]


def _try(
    where: str, spec: Mapping[str, Any], borders: Borders, crop_size: Sequence[int], allowed_ids: set[int]
) -> None:
    name, channels = spec["name"], len(borders.fill)
    composed = A.Compose([build_transform(where, {**spec, "p": 1.0}, borders)])
    image, mask = _sample(crop_size, channels, borders)
    known = allowed_ids | {borders.ignore_index, *np.unique(mask).tolist()}
    for seed in range(NUM_TRIALS):
        composed.set_random_seed(seed)
        try:
            result = composed(image=image, mask=mask)
        except Exception as error:  # of any type: albumentations, OpenCV and NumPy raise their own
            raise ConfigError(f"{where}: {name} {_cannot(channels, borders, error)}: remove it") from None
        if result["image"].shape != image.shape or result["mask"].shape != mask.shape:
            raise ConfigError(f"{where}: {name} {_other_size(name, result['image'], image)}")
        if result["image"].dtype != image.dtype or not np.isfinite(result["image"]).all():
            raise ConfigError(f"{where}: {name} returns {result['image'].dtype}, not finite {image.dtype}: remove it")
        if invented := sorted(set(np.unique(result["mask"]).tolist()) - known):
            raise ConfigError(
                f"{where}: {name} invents class ids: {invented[0]} where the mask has none: leave out "
                "mask_interpolation, or remove the transform"
            )


def _sample(crop_size: Sequence[int], channels: int, borders: Borders) -> tuple[NDArray[Any], NDArray[Any]]:
    """A crop of random values, and a mask of two ids."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*crop_size, channels)).astype(np.uint8)
    values = image if borders.white == 255 else (image / 255).astype(np.float32)
    first, second = [value for value in UNUSUAL_IDS if value != borders.ignore_index][:2]
    mask = np.full(crop_size, first, np.uint8 if borders.ignore_index < 256 else np.int32)  # as datasets have them
    mask[: crop_size[0] // 2] = second
    return values, mask


def _cannot(channels: int, borders: Borders, error: Exception) -> str:
    kind = "1 channel" if channels == 1 else f"{channels} channels"
    values = "8 bits" if borders.white == 255 else "more than 8 bits"
    return f"cannot be applied to images of {kind} and {values} ({short_reason(error)})"


def _other_size(name: str, found: NDArray[Any], crop: NDArray[Any]) -> str:
    """The clause about a result of another size, with the way out."""
    sizes = f"makes a crop of {found.shape[1]} x {found.shape[0]} from one of {crop.shape[1]} x {crop.shape[0]}"
    if found.shape[:2] == crop.shape[1::-1]:
        place = "move it out of its group, or " if name in TURNS else ""
        return f"{sizes}: {place}set a square data.crop_size"
    return f"{sizes}: data.scale_range scales and data.crop_size crops; remove it"
