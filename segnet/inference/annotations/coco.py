"""COCO's annotation file (cocodataset.org, "Data format"), with run lengths: exact for every mask.

COCO has no ignored pixels: without an annotation, a pixel is background.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.inference.polygons import pixels_of


def run_lengths(where: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed RLE in column-major order: alternating counts of false and true, false first."""
    flat = where.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    lengths = np.diff(edges).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def coco(mask: NDArray[np.integer], class_ids: Collection[int], classes: Classes, file_name: str) -> dict[str, Any]:
    """A COCO dataset of one image, with one RLE annotation per class."""
    annotations: list[dict[str, Any]] = []
    for class_id in sorted(class_ids):
        where = pixels_of(mask, class_id)
        if not where.any():
            continue
        rows, columns = np.flatnonzero(where.any(axis=1)), np.flatnonzero(where.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": 1,
                "category_id": class_id + 1,  # COCO ids start at 1
                "segmentation": {"size": list(where.shape), "counts": run_lengths(where)},
                "area": int(where.sum()),
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "iscrowd": 0,
            }
        )
    return {
        "images": [{"id": 1, "file_name": file_name, "height": mask.shape[-2], "width": mask.shape[-1]}],
        "annotations": annotations,
        "categories": coco_categories(classes),
    }


def coco_categories(classes: Classes) -> list[dict[str, Any]]:
    """The classes as categories; a class id plus 1 is the id of its category."""
    return [{"id": index + 1, "name": name} for index, name in enumerate(classes.names)]
