"""Label Studio's pre-annotations (labelstud.io, "Import pre-annotated data"): brush labels with run lengths.

A class of an image is one brush region. A class named background has none: Label Studio leaves its pixels unlabeled.
"""

from collections.abc import Collection
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes, is_background
from segnet.inference.polygons import pixels_of

# Names of the tags in `labeling_config`, and the key of the image in a task.
BRUSH_TAG, IMAGE_TAG, IMAGE_KEY = "brush", "image", "image"


def label_studio_prediction(
    mask: NDArray[np.integer],
    class_ids: Collection[int],
    classes: Classes,
    confidence: NDArray[np.floating] | None = None,
) -> dict[str, Any]:
    """A prediction of a task.

    Args:
        mask: (H, W) class ids.
        class_ids: classes that become regions.
        classes: the classes of the model.
        confidence: (H, W) largest probability of each pixel, 0-1. The score of a region is its mean over the region,
            that of the prediction its mean over the image. Without it there are no scores.
    """
    from segnet.data.datasets.brush_runs import encode_brush  # late: imports all readers

    results = []
    for class_id in sorted(class_ids):
        where = pixels_of(mask, class_id)
        if is_background(classes.names[class_id]) or not where.any():
            continue
        region: dict[str, Any] = {
            "id": f"class{class_id}",
            "from_name": BRUSH_TAG,
            "to_name": IMAGE_TAG,
            "type": "brushlabels",
            "original_width": mask.shape[-1],
            "original_height": mask.shape[-2],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(where), "brushlabels": [classes.names[class_id]]},
        }
        results.append(region if confidence is None else region | {"score": _mean_score(confidence[where])})
    prediction: dict[str, Any] = {"result": results}
    return prediction if confidence is None else prediction | {"score": _mean_score(confidence)}


def _mean_score(values: NDArray[np.floating]) -> float:
    return round(float(values.mean(dtype=np.float64)), 4)


def label_studio_task(image: str, prediction: dict[str, Any], model_version: str) -> dict[str, Any]:
    """A task with its prediction.

    Args:
        image: address of the image in Label Studio: a URL, or /data/local-files/?d=PATH.
        prediction: from `label_studio_prediction`.
        model_version: name of the model, by which Label Studio groups predictions.
    """
    return {"data": {IMAGE_KEY: image}, "predictions": [{"model_version": model_version, **prediction}]}


def labeling_config(classes: Classes) -> str:
    """The labeling interface of a project, with the names and colors of the classes."""
    labels = [
        f'    <Label value={quoteattr(name)} background="#{red:02x}{green:02x}{blue:02x}"/>\n'
        for name, (red, green, blue) in zip(classes.names, classes.palette, strict=True)
        if not is_background(name)
    ]
    return (
        f'<View>\n  <Image name="{IMAGE_TAG}" value="${IMAGE_KEY}" zoom="true" zoomControl="true"/>\n'
        f'  <BrushLabels name="{BRUSH_TAG}" toName="{IMAGE_TAG}">\n{"".join(labels)}  </BrushLabels>\n</View>\n'
    )
