"""Suggest options for masks with values that are not class ids, for a whole split."""

from collections.abc import Collection, Mapping, Sequence

from segnet.classes import MAX_LABEL, Classes, voc_palette
from segnet.errors import listed

MANY_IDS = 10  # more unknown ids, each with few pixels, are instances
FEW_PIXELS = 0.02  # largest fraction of all pixels covered by an instance
MAX_LISTED_IDS = 20
SMOOTHED_VALUES = 48  # more 8-bit values, with most pixels in a few of them, come from interpolation or JPEG
SMOOTHED_MAIN = (8, 0.8)  # number of main values, and their fraction of all pixels
SMOOTHED = "look smoothed (resized with interpolation, or JPEG): save class ids as PNG, resized by nearest neighbor"

WHITE = 255  # of 8 bits

RGB = tuple[int, int, int]
BLACK: RGB = (0, 0, 0)
VOID_COLOR: RGB = (224, 224, 192)  # of PASCAL VOC's borders
MAX_VOC_COLORS = 24  # recognized colors of VOC's color map


def id_map_advice(labels: Mapping[int, int], classes: Classes) -> str:
    """Suggest the option dataset.id_map for the labels of a split.

    Args:
        labels: value -> its pixels in the masks with unknown labels.
        classes: what the ids should be.
    """
    num_classes, ignore_index = len(classes.names), classes.ignore_index
    present = set(labels)
    unknown = sorted(present - set(range(num_classes)) - {ignore_index})
    if not unknown:
        return ""
    if num_classes == 2 and present <= {0, 255}:
        return f"if 255 is '{classes.names[1]}', add {_id_option({'0': '0', '255': '1'})}"
    if are_instances(labels):
        return _instance_advice(classes)
    if are_smoothed(labels):
        return f"the masks {SMOOTHED}"
    if are_instances(labels, {ignore_index}):
        return _instance_advice(classes)
    if unknown == [num_classes]:
        void = _id_option({str(num_classes): "ignore", "other": "same"})
        shift = {"0": "ignore"} | {str(index + 1): str(index) for index in range(num_classes)}
        shift |= {str(ignore_index): "ignore"} if ignore_index in present else {}
        readings = [f"if {num_classes} means unlabeled, add {void}"]
        if num_classes <= MAX_LISTED_IDS:
            # Without a 0 in any mask, labels probably count from 1.
            place = 1 if 0 in present else 0
            readings.insert(place, f"if labels count from 1, add {_id_option(shift)}")
        return "; ".join(readings)
    means = "means" if len(unknown) == 1 else "mean"
    void = f"if {_listed_values(unknown)} {means} unlabeled, add {_id_option(_ignoring(unknown, num_classes))}"
    # Other than gray levels such as 0, 127, 255, values below 255 leave it to the usual meaning.
    readings = [_in_order(present, {ignore_index}, num_classes), void]
    readings.insert(1 if are_gray_levels(present) else 2, _in_order(present, set(), num_classes))
    if num_classes == 2 and len(unknown) > 1 and 0 in present:  # more values than classes: objects before void labels
        readings.insert(0, _instance_advice(classes))
    return "; ".join(dict.fromkeys(filter(None, readings)))


def are_gray_levels(values: Collection[int]) -> bool:
    """Return True if values are spread from 0 to 255 for an image viewer: 0, 127, 255."""
    below = sorted(value for value in values if 0 <= value < WHITE)
    return len(below) <= 1 or below[-1] > WHITE // 2 - 2


def _in_order(present: Collection[int], void: Collection[int], num_classes: int) -> str:
    """Suggest the reading of values as classes in order; empty if their numbers differ."""
    plain = sorted(set(present) - set(void))
    if len(plain) != num_classes or num_classes < 2 or plain[0] < 0 or plain[-1] > MAX_LABEL:
        return ""
    pairs = {str(value): str(index) for index, value in enumerate(plain)}
    pairs |= {str(value): "ignore" for value in void if value in present}
    return f"if {_listed_values(plain)} are the classes in order, add {_id_option(pairs)}"


def _ignoring(unknown: Sequence[int], num_classes: int) -> dict[str, str]:
    """Return the id map that ignores unknown values and keeps the others."""
    if len(unknown) <= MAX_LISTED_IDS and unknown[0] >= 0 and unknown[-1] <= MAX_LABEL:
        return dict.fromkeys(map(str, unknown), "ignore") | {"other": "same"}
    return {str(index): str(index) for index in range(num_classes)} | {"other": "ignore"}


def _listed_values(values: Sequence[int]) -> str:
    return listed([str(value) for value in values])


def _instance_advice(classes: Classes) -> str:
    if len(classes.names) == 2:
        return f"if these are numbers of instances, add {_id_option({'0': '0', 'other': '1'})}"
    return f"they look like numbers of instances, not of the {len(classes.names)} classes: save class ids"


def are_instances(pixels: Mapping[int, int], void: Collection[int] = ()) -> bool:
    """Return True if mask values number objects: many, each with few pixels, on a background of 0.

    Args:
        pixels: value -> its pixels.
        void: values that may mean unlabeled; they are left out.
    """
    numbers = set(pixels) - {0, *void}
    largest = max((pixels[value] for value in numbers), default=0)
    return 0 in pixels and len(numbers) > MANY_IDS and largest <= FEW_PIXELS * sum(pixels.values())


def are_smoothed(pixels: Mapping[int, int]) -> bool:
    """Return True if masks were resized with interpolation or stored as JPEG: most values are then not ids.

    Args:
        pixels: value -> its pixels.
    """
    number, fraction = SMOOTHED_MAIN
    main = sum(sorted(pixels.values(), reverse=True)[:number])
    in_8_bits = min(pixels, default=0) >= 0 and max(pixels, default=0) <= 255
    return in_8_bits and len(pixels) > SMOOTHED_VALUES and main >= fraction * sum(pixels.values())


def color_map_advice(colors: Sequence[RGB], num_colors: int, classes: Classes) -> str:
    """Suggest the option dataset.color_map for the colors of a split.

    Args:
        colors: in the masks.
        num_colors: how many there are, where `colors` are the first of them.
        classes: what they should be.
    """
    num_classes = len(classes.names)
    # Chosen colors say nothing about masks, and dataset.color_map=palette needs colors that were given.
    given = classes.palette != voc_palette(num_classes)
    known = dict(zip(classes.palette, classes.names, strict=True)) if given else {}
    if set(colors) <= set(known):
        return "add dataset.color_map=palette"
    if num_colors > len(colors) or num_colors > 4 * num_classes + 16:
        return f"{num_colors} colors for {num_classes} classes: save masks as PNG without smoothing or photos"
    rest = [name for name in classes.names if name not in {known.get(color) for color in colors}]
    rows = []
    for color in sorted(colors, key=lambda color: (color not in known, *color_order(color))):
        name = known.get(color) or (rest.pop(0) if rest and color != VOID_COLOR else None)
        rows.append(f"[{','.join(map(str, color))},{_target(name, classes)}]")
    return f'check which color is which class, and add "dataset.color_map=[{",".join(rows)}]"'


def color_order(color: RGB) -> tuple[int, RGB]:
    """Return a sort key for colors: colors of PASCAL VOC's color map by index, black first, then others."""
    index = {BLACK: 0} | {known: place for place, known in enumerate(voc_palette(MAX_VOC_COLORS), 1)}
    return index.get(color, MAX_VOC_COLORS + 1), color


def _target(name: str | None, classes: Classes) -> str:
    """Format a class for an option: its name, or its id if the name is ambiguous; None: ignored."""
    if name is None:
        return str(classes.ignore_index) if "ignore" in classes.names else "ignore"
    plain = name.isidentifier() and name.lower() not in ("null", "true", "false", "nan", "inf", "ignore")
    return name if plain else str(classes.names.index(name))


def _id_option(pairs: Mapping[str, str]) -> str:
    return f'"dataset.id_map={{{",".join(f"{key}:{value}" for key, value in pairs.items())}}}"'
