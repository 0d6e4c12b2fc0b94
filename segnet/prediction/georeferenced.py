"""GeoTIFF scenes, tile by tile."""

from functools import partial

from segnet.errors import DataError
from segnet.images.geotiff import segment_scene
from segnet.prediction import DONE_BEFORE, Outcome, Prediction, Task


def segment_scene_file(prediction: Prediction, task: Task) -> Outcome:
    """Segment a GeoTIFF scene and write a mask with its georeference.

    Args:
        prediction: model, output folder and settings.
        task: the scene.

    Raises:
        DataError: it cannot be read.
        MachineError: a full disk, an unusable device, or rasterio is not installed.
    """
    item, predictor = task.input, prediction.predictor
    if item.problem or item.path is None:
        raise DataError(item.problem or f"{item.text}: --scene reads local files only")
    origin = prediction.origin(item)
    if not prediction.records.pending(task.name, ["scene"], origin):
        return DONE_BEFORE
    target = prediction.records.target(task.name, "scene")
    with prediction.records.taken(task.name, ["scene"], origin):
        warning = segment_scene(
            partial(predictor.stream, refinement=predictor.refinement.by_pixel()),
            item.path,
            target,
            predictor.classes,
            predictor.channels,
            predictor.value_range,
            predictor.least_areas,
            prediction.images.little_range,
        )
    return Outcome((target,), warning=warning)
