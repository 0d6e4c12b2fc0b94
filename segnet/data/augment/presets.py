"""Presets of augmentation for kinds of images, and the choice of the options that a preset sets.

A preset sets data.scale_range, data.flip and data.color_jitter where they are null, and adds albumentations transforms.
It is written as a user would write it: docs/guides/training.md explains the list. What the presets differ in:

* which way is up: streets and pages have a top, views from above and through a microscope have none;
* how far the scale varies: a ground sampling distance or a magnification is known, the distance of a car is not;
* what a camera of that kind does to an image. Strong noise or blur would teach another domain: all are mild.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segnet.choices import YAML_SUFFIXES
from segnet.config import DataConfig, known
from segnet.data.datasets.yaml_records import read_yaml_list
from segnet.errors import ConfigError
from segnet.option_values import check_augment

Spec = Mapping[str, Any]  # {"name": class of albumentations, **its arguments}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Augmentation for a kind of images.

    Attributes:
        scale_range, flip, color_jitter: values of these options of `DataConfig` where they are null.
        transforms: for images of any channels.
        rgb_transforms: for RGB images only.
    """

    scale_range: tuple[float, float]
    flip: float
    color_jitter: float
    transforms: Sequence[Spec] = ()
    rgb_transforms: Sequence[Spec] = ()


NO_PRESET = Preset(scale_range=(0.5, 2.0), flip=0.5, color_jitter=0.4)

PRESETS: dict[str, Preset] = {
    # Cars and people are near or far, hence the scales of mmsegmentation and PaddleSeg for Cityscapes. The sky stays
    # above: no vertical flip, no turns. Tunnels and a low sun (gamma), motion, night (noise), compressed video.
    "street": Preset(
        scale_range=(0.5, 2.0),
        flip=0.5,
        color_jitter=0.5,
        transforms=(
            {"name": "RandomGamma", "gamma_limit": [70, 140], "p": 0.3},
            {
                "name": "OneOf",
                "p": 0.2,
                "transforms": [
                    {"name": "MotionBlur", "blur_limit": [3, 9]},
                    {"name": "GaussianBlur", "blur_limit": 0, "sigma_limit": [0.4, 1.5]},
                ],
            },
            {"name": "GaussNoise", "std_range": [0.01, 0.05], "p": 0.2},
        ),
        rgb_transforms=({"name": "ImageCompression", "quality_range": [40, 95], "p": 0.2},),
    ),
    # A view from above has no top: the eight symmetries of a square lose no pixel, unlike other angles. The ground
    # sampling distance is known: little scale. Haze, season and sensor change each band by a factor of its own.
    "aerial": Preset(
        scale_range=(0.75, 1.5),
        flip=0.0,  # part of SquareSymmetry
        color_jitter=0.3,
        transforms=(
            {"name": "SquareSymmetry", "p": 1.0},
            {"name": "MultiplicativeNoise", "multiplier": [0.85, 1.15], "per_channel": True, "p": 0.3},
            {"name": "RandomGamma", "gamma_limit": [80, 125], "p": 0.2},
            {"name": "GaussianBlur", "blur_limit": 0, "sigma_limit": [0.4, 1.2], "p": 0.15},
            {"name": "GaussNoise", "std_range": [0.005, 0.03], "p": 0.15},
        ),
    ),
    # No top, and a known magnification. Elastic deformation is what lets few annotated cells suffice (U-Net,
    # arXiv 1505.04597, section 3.1): here about 3 pixels over 16. Focus, exposure, sensor noise, uneven light; color
    # jitter stands for the strength of a stain.
    "microscope": Preset(
        scale_range=(0.75, 1.33),
        flip=0.0,  # part of SquareSymmetry
        color_jitter=0.3,
        transforms=(
            {"name": "SquareSymmetry", "p": 1.0},
            {"name": "ElasticTransform", "alpha": 200, "sigma": 16, "p": 0.3},
            {"name": "RandomGamma", "gamma_limit": [70, 140], "p": 0.3},
            # "linear" is the only mode of albumentations 2.0.8 that takes a single channel.
            {"name": "Illumination", "mode": "linear", "intensity_range": [0.03, 0.12], "p": 0.2},
            {"name": "GaussianBlur", "blur_limit": 0, "sigma_limit": [0.4, 2.0], "p": 0.25},
            {"name": "GaussNoise", "std_range": [0.01, 0.05], "p": 0.25},
        ),
    ),
    # Mirrored text does not exist: no flip. A page in a scanner is turned by a few degrees; one before a phone is seen
    # at an angle, in the shadow of a hand, blurred, and stored as a small JPEG. Many scans are gray.
    "document": Preset(
        scale_range=(0.7, 1.4),
        flip=0.0,
        color_jitter=0.3,
        transforms=(
            {"name": "Rotate", "limit": [-4, 4], "p": 0.5},
            {"name": "Perspective", "scale": [0.02, 0.06], "p": 0.3},
            {"name": "Illumination", "mode": "linear", "intensity_range": [0.05, 0.15], "p": 0.3},
            {
                "name": "OneOf",
                "p": 0.2,
                "transforms": [
                    {"name": "MotionBlur", "blur_limit": [3, 5]},
                    {"name": "GaussianBlur", "blur_limit": 0, "sigma_limit": [0.4, 1.2]},
                ],
            },
            {"name": "GaussNoise", "std_range": [0.01, 0.04], "p": 0.2},
        ),
        rgb_transforms=(
            {"name": "ToGray", "p": 0.2},
            {"name": "ImageCompression", "quality_range": [30, 90], "p": 0.3},
        ),
    ),
}

# A listed transform that does the work of an option turns its default off: otherwise both would apply.
INSTEAD_OF = {
    "flip": {"HorizontalFlip", "D4", "SquareSymmetry"},
    "color_jitter": {"ColorJitter"},
}


def complete_augment(data: DataConfig) -> DataConfig:
    """Return the options with `scale_range`, `flip` and `color_jitter` chosen where they are null.

    Raises:
        ConfigError: data.augment names no preset, names several, or is no list.
        DataError: its file cannot be read.
    """
    data = with_augment_file(data)
    items = _items(data.augment)
    found = [item for item in items if isinstance(item, str) and item in PRESETS]
    if len(found) > 1:
        raise ConfigError(f"data.augment={data.augment}: has {len(found)} presets: name one of them")
    preset = PRESETS[found[0]] if found else NO_PRESET
    listed = set(_listed_names(items))
    values: dict[str, Any] = {
        "scale_range": list(preset.scale_range),
        "flip": preset.flip,
        "color_jitter": preset.color_jitter,
    }
    values |= {option: 0.0 for option, names in INSTEAD_OF.items() if names & listed}
    return replace(data, **{name: value for name, value in values.items() if getattr(data, name) is None})


def with_augment_file(data: DataConfig) -> DataConfig:
    """Return the options with the content of the YAML file that data.augment names, if it names one.

    Raises:
        DataError: the file cannot be read.
    """
    if isinstance(data.augment, str) and data.augment.endswith(YAML_SUFFIXES):
        return replace(data, augment=read_yaml_list(Path(data.augment).expanduser()))
    return data


def listed_transforms(augment: Any, channels: int) -> list[tuple[str, Any]]:
    """Return the transforms of data.augment, each with its place for messages.

    Args:
        augment: a preset, or a list of transforms and presets.
        channels: image channels; transforms of a preset that need RGB are left out for others.

    Raises:
        ConfigError: neither a preset nor a list.
    """
    found: list[tuple[str, Any]] = []
    for number, item in enumerate(_items(augment)):
        where = f"data.augment[{number}]"
        if not isinstance(item, str):
            found.append((where, item))
        elif preset := PRESETS.get(item):
            found += [(where, spec) for spec in (*preset.transforms, *(preset.rgb_transforms if channels == 3 else ()))]
        else:
            found.append((where, {"name": item}))
    return found


def augment_summary(data: DataConfig, channels: int) -> str:
    """Describe the augmentation in one line.

    Args:
        data: options without nulls.
        channels: image channels.
    """
    low, high = known(data.scale_range)
    preset = next((f"{item}: " for item in _items(data.augment) if isinstance(item, str) and item in PRESETS), "")
    names = dict.fromkeys(str(spec["name"]) for _, spec in listed_transforms(data.augment, channels))
    parts = [f"scale {low:g}-{high:g}", f"flip {known(data.flip):g}", f"color jitter {known(data.color_jitter):g}"]
    return f"{preset}{', '.join([*parts, *([f'CutMix {data.cutmix:g}'] if data.cutmix else []), *names])}"


def _items(augment: Any) -> list[Any]:
    """The list that data.augment stands for.

    Raises:
        ConfigError: neither null, nor a preset, nor a list.
    """
    if augment is None:
        return []
    if isinstance(augment, str):
        check_augment(augment)
        return [augment]
    if not isinstance(augment, list | tuple):
        raise ConfigError(f'data.augment={augment}: must be a preset or a list: "data.augment=[{{name:GaussNoise}}]"')
    return list(augment)


def _listed_names(items: Sequence[Any]) -> list[str]:
    """The names of listed transforms, those within others too."""
    found = []
    for item in items:
        found.append(item if isinstance(item, str) else "")
        if isinstance(item, Mapping):
            inner = item.get("transforms")
            found += [str(item.get("name")), *_listed_names(inner if isinstance(inner, list | tuple) else [])]
    return found
