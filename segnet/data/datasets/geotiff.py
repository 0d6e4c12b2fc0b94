"""GeoTIFF scenes larger than memory, each with a mask of the same grid, as a dataset of windows.

Scenes and masks are found and split as in `segnet.data.datasets.folder`. A sample is one window, read on its own.
Pixels without data are ignored.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segnet.components import forwards_to
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.folder import Folder
from segnet.errors import ConfigError, DataError
from segnet.images.geotiff import opened, read_window
from segnet.images.windows import Window, grid


class GeoTIFF(SegmentationDataset):
    """Windows of GeoTIFF scenes.

    Args:
        scenes: the scenes and their masks of class ids.
        window: (height, width) of a sample [pixels].

    Raises:
        ConfigError: a window without pixels.
        DataError: a mask whose grid is not that of its scene.
        MachineError: rasterio is not installed.
    """

    def __init__(self, scenes: Folder, window: Sequence[int] = (1024, 1024)) -> None:
        if len(window) != 2 or min(window) < 1:
            raise ConfigError(f"dataset.window={list(window)} is not [height, width], each 1 or more")
        self.classes, self.channels, self.notes = scenes.classes, scenes.channels, scenes.notes
        self._labels = scenes.labels
        self._windows: list[tuple[Path, Path, Window]] = []
        for scene, mask in scenes.pairs:
            size = common_size(scene, mask)
            self._windows += [(scene, mask, part) for part in grid(size, window)]

    def __len__(self) -> int:
        return len(self._windows)

    def load(self, index: int) -> Sample:
        scene_path, mask_path, window = self._windows[index]
        with opened(scene_path) as scene:
            image, valid = read_window(scene, window, self.channels, scene_path)
        with opened(mask_path) as labels:
            values = labels.read(1, window=window.ranges())
        mask = self._labels.convert(values, mask_path)
        mask[~valid] = self.classes.ignore_index
        return Sample(image, mask, f"{scene_path} at row {window.top}, column {window.left}")

    def files(self, index: int) -> Sequence[Path | str]:
        scene, mask, window = self._windows[index]
        return scene, mask, str(window)

    def doubt(self, present: Any) -> str:
        return self._labels.doubt(present)


@forwards_to(Folder, without=["color_map"])
def geotiff(window: Sequence[int] = (1024, 1024), **options: Any) -> GeoTIFF:
    """Windows of GeoTIFF scenes; masks hold class ids.

    Args:
        window: [height, width] of a sample [pixels].
        **options: those of `Folder` that say where scenes and masks are, and what the ids mean.

    Raises:
        ConfigError, DataError: see `Folder`.
        MachineError: rasterio is not installed.
    """
    return GeoTIFF(Folder(**options), window)


def common_size(scene_path: Path, mask_path: Path) -> tuple[int, int]:
    """(height, width) of a scene and its mask.

    Raises:
        DataError: they are not on one grid, or the mask has several bands.
    """
    with opened(scene_path) as scene, opened(mask_path) as mask:
        if (mask.height, mask.width) != (scene.height, scene.width):
            raise DataError(
                f"{mask_path}: {mask.width} x {mask.height} pixels, but its scene {scene_path} has "
                f"{scene.width} x {scene.height}: a mask must have the size of its scene"
            )
        if mask.count != 1:
            raise DataError(f"{mask_path}: has {mask.count} bands: save class ids as a single band")
        placed = scene.crs and mask.crs
        if placed and (scene.crs != mask.crs or not scene.transform.almost_equals(mask.transform, 1e-6)):
            raise DataError(f"{mask_path}: lies elsewhere than its scene {scene_path}: put both on one grid")
        return scene.height, scene.width
