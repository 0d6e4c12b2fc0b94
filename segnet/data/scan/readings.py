"""Readings of masks without class names: possible meanings of their values or colors, with options for each."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from segnet.classes import MAX_LABEL
from segnet.data.datasets.label_advice import (
    BLACK,
    MANY_IDS,
    RGB,
    VOID_COLOR,
    are_gray_levels,
    are_instances,
    are_smoothed,
    color_order,
)
from segnet.errors import listed

USUAL_VOID = 255  # most tools' value of unlabeled pixels, and the default of ignore_index
MAX_CLASSES = 256  # more classes are not listed in options
MAX_MAP_COLORS = 64  # more colors in masks come from smoothing, or number instances
NUMBERED = "if each object has a number of its own"


@dataclass(frozen=True, slots=True)
class Reading:
    """One way to read the masks of a dataset.

    Attributes:
        condition: when the reading is right, such as "if unlabeled is 255".
        options: dataset options: class_names, and id_map or color_map if needed.
    """

    condition: str
    options: dict[str, Any] = field(default_factory=dict)


def readings_of_ids(pixels: Mapping[int, int], declared: Collection[int] = ()) -> list[Reading]:
    """Return the readings of masks of numbers, the likeliest first; empty if masks have at most one class.

    Args:
        pixels: value -> number of pixels in all masks.
        declared: nodata values that the files declare.
    """
    if are_smoothed(pixels) and not are_instances(pixels, declared):
        return []
    marked = sorted({value for value in pixels if value in declared} | ({USUAL_VOID} & set(pixels)))
    classes = [_as_classes(pixels, declared, void) for void in ([set(marked), set()] if marked else [set()])]
    found = [reading for reading in classes if reading]
    if len(found) == 2 and are_gray_levels(pixels):
        found.reverse()
    if 0 in pixels and len(pixels) > MANY_IDS:
        options = {"class_names": ["background", "object"], "id_map": {0: 0, "other": 1}}
        found.insert(0 if are_instances(pixels, declared) else len(found), Reading(NUMBERED, options))
    return found


def readings_of_colors(pixels: Mapping[RGB, int], num_colors: int) -> list[Reading]:
    """Return the readings of color masks, the likeliest first; empty if colors are not classes.

    Args:
        pixels: color -> number of pixels in all masks.
        num_colors: total number of colors; `pixels` may contain only some.
    """
    if num_colors > min(len(pixels), MAX_MAP_COLORS):
        return []
    colors = sorted(pixels, key=color_order)
    readings = [_of_colors(colors, {VOID_COLOR}, f"if unlabeled is {list(VOID_COLOR)}")] if VOID_COLOR in pixels else []
    readings.append(_of_colors(colors, set(), "if each color is a class"))
    if BLACK in pixels and len(colors) > 2:
        readings.append(_of_colors(colors, {BLACK, VOID_COLOR} & set(colors), "if unlabeled is black"))
    return [reading for reading in readings if len(reading.options["class_names"]) > 1]


def option_text(name: str, value: Any) -> str:
    """Format an option for a shell: "dataset.id_map={0:0,other:1}" in double quotes."""
    text = f"{name}={_written(value)}"
    return text if text.replace("=", "").replace(".", "").replace("_", "").isalnum() else f'"{text}"'


def _as_classes(pixels: Mapping[int, int], declared: Collection[int], void: set[int]) -> Reading | None:
    """Return the reading with a class per value, except for the values in `void`."""
    ids = sorted(value for value in pixels if value not in void and 0 <= value <= MAX_LABEL)
    if len(ids) < 2 or len(ids) > MAX_CLASSES - 1:
        return None
    options: dict[str, Any] = {"class_names": _names(ids)}
    strange = {value for value in pixels if not 0 <= value <= MAX_LABEL}  # not possible as keys of an id map
    # A declared nodata value is a label only if the id map contains it.
    if (
        ids != list(range(len(ids)))
        or void - {USUAL_VOID} - set(declared)
        or strange
        or set(ids) & {*declared, USUAL_VOID}
    ):
        id_map: dict[Any, Any] = {value: index for index, value in enumerate(ids)}
        id_map |= dict.fromkeys(sorted(void - strange), "ignore")
        options["id_map"] = id_map | ({"other": "ignore"} if strange else {})
    unlabeled = listed([str(value) for value in sorted(void | strange)])
    return Reading(f"if unlabeled is {unlabeled}" if void | strange else "if each value is a class", options)


def _names(ids: Sequence[int]) -> list[str]:
    if len(ids) == 2 and ids[0] == 0:
        return ["background", "foreground"]
    return [f"class_{value}" for value in ids]


def _of_colors(colors: Sequence[RGB], void: Collection[RGB], condition: str) -> Reading:
    names: list[str] = []
    rows: list[list[int | str]] = []
    for color in colors:
        name = "ignore" if color in void else "background" if color == BLACK else f"class_{len(names)}"
        names += [name] if color not in void else []
        rows.append([*color, name])
    return Reading(condition, {"class_names": names, "color_map": rows})


def _written(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_written(item)}' for key, item in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
