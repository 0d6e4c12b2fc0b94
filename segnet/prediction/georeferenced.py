"""GeoTIFF scenes, window by window."""

from segnet.errors import DataError
from segnet.images.geotiff import segment_scene
from segnet.prediction import DONE_BEFORE, Outcome, Prediction, Task


def segment_scene_file(prediction: Prediction, task: Task) -> Outcome:
    """Segments a GeoTIFF; its mask lies where it does.

    Args:
        prediction: the model, and where to.
        task: the scene.

    Raises:
        DataError: it cannot be read. MachineError: the disk or the device does not allow it, or rasterio is absent.
    """
    item, predictor = task.input, prediction.predictor
    if item.problem or item.path is None:
        raise DataError(item.problem or f"{item.text}: --scene reads files only")
    origin = prediction.origin(item)
    if not prediction.records.pending(task.name, ["scene"], origin):
        return DONE_BEFORE
    target = prediction.records.target(task.name, "scene")
    with prediction.records.taken(task.name, ["scene"], origin):
        warning = segment_scene(predictor.stream, item.path, target, predictor.classes, predictor.channels)
    return Outcome((target,), warning=warning)
