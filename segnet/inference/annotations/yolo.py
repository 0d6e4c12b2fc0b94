"""YOLO's polygons (docs.ultralytics.com, "Instance segmentation datasets overview").

A label file has a line for each region: the number of its class, and its corners as fractions of width and height.
There are no holes: each is joined to the exterior by a cut of zero width. A class named background is no class of YOLO:
its pixels have no polygon.
"""

from collections.abc import Sequence

import yaml

from segnet.classes import Classes, is_background
from segnet.inference.annotations.rings import single_ring
from segnet.inference.polygons import Polygon

DECIMALS = 6  # to a hundredth of a pixel, up to images of 20,000 pixels


def yolo_numbers(classes: Classes) -> dict[int, int]:
    """YOLO's number of each class id: its place among the classes without background."""
    ids = [index for index, name in enumerate(classes.names) if not is_background(name)]
    return {class_id: number for number, class_id in enumerate(ids)}


def yolo_labels(polygons: Sequence[Polygon], classes: Classes, size: tuple[int, int]) -> str:
    """The label file of an image; empty without regions.

    Args:
        polygons: the regions; those of a background class are left out.
        classes: the classes of the model.
        size: (height, width) of the image [pixels].
    """
    numbers = yolo_numbers(classes)
    lines = []
    for polygon in polygons:
        if polygon.class_id in numbers:
            fractions = (single_ring(polygon) / (size[1], size[0])).clip(0, 1).ravel().tolist()
            corners = [f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".") for value in fractions]
            lines.append(f"{numbers[polygon.class_id]} {' '.join(corners)}\n")
    return "".join(lines)


def yolo_data(classes: Classes) -> str:
    """The YAML file of a dataset whose images are listed in train.txt.

    Ultralytics takes a missing ``path`` as the folder of the file. CVAT takes every other key as a subset.
    """
    names = {number: classes.names[class_id] for class_id, number in yolo_numbers(classes).items()}
    text: str = yaml.safe_dump({"train": "train.txt", "names": names}, sort_keys=False, allow_unicode=True)
    return text
