"""GeoTIFF scenes larger than memory, with masks on the same grid, as a dataset of windows.

Scenes and masks are found and split as in `segnet.data.datasets.folder`. A sample is one window, which is read alone.
Pixels without data are ignored.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.components import forwards_to
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.labels import Labels
from segnet.errors import ConfigError
from segnet.images.geotiff import common_size, opened
from segnet.images.masks import ALL_LABELS, LabelValues
from segnet.images.windows import Window, grid

SAMPLE_SIZE = (1024, 1024)  # (height, width) [pixels]


class GeoTIFF(SegmentationDataset):
    """Windows of GeoTIFF scenes.

    Args:
        scenes: the scenes and their masks of class ids.
        window: (height, width) of a sample [pixels].

    Raises:
        ConfigError: a window without pixels.
        DataError: mask and scene have different grids.
        MachineError: rasterio is not installed.
    """

    has_value_range = True

    def __init__(self, scenes: Folder, window: Sequence[int] = SAMPLE_SIZE) -> None:
        if len(window) != 2 or min(window) < 1:
            raise ConfigError(f"dataset.window={list(window)} is not [height, width], each 1 or more")
        self.classes, self.channels, self.notes = scenes.classes, scenes.channels, scenes.notes
        self.value_range = scenes.value_range
        assert isinstance(scenes.labels, Labels)  # `geotiff` has no option task
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
            image, valid = scene.read(window, self.channels, self.value_range)
        with opened(mask_path) as labels:
            values = labels.read_labels(window, self._labels.kept)
        mask = self._labels.apply(values, mask_path)
        mask[~valid] = self.classes.ignore_index
        return Sample(image, mask, f"{scene_path} at row {window.top}, column {window.left}")

    def stored_values(self, index: int) -> tuple[NDArray[Any], float]:
        scene_path, _, window = self._windows[index]
        with opened(scene_path) as scene:
            found, valid = scene.read_channels(window, self.channels)
        return found.values[valid][:, None] if valid.any() else found.values[:1, :1], found.full

    def stored_labels(self, index: int) -> LabelValues:
        _, mask_path, window = self._windows[index]
        with opened(mask_path) as labels:
            return labels.read_labels(window, ALL_LABELS)

    def files(self, index: int) -> Sequence[Path | str]:
        scene, mask, window = self._windows[index]
        return scene, mask, str(window)

    def declared_nodata(self, index: int) -> int:
        return self._labels.declared_nodata(self._windows[index][1])

    def nodata_pixels(self, index: int) -> NDArray[np.bool_] | None:
        return None  # they are ignored

    def doubt(self, present: Any) -> str:
        return self._labels.doubt(present)

    def advice(
        self, labels: Mapping[int, int], colors: Sequence[tuple[int, int, int]], num_colors: int
    ) -> dict[str, str]:
        return self._labels.advice(labels, colors, num_colors)


@forwards_to(Folder, without=["color_map", "task"])
def geotiff(window: Sequence[int] = SAMPLE_SIZE, **options: Any) -> GeoTIFF:
    """Windows of GeoTIFF scenes; masks hold class ids.

    Args:
        window: [height, width] of a sample [pixels].
        **options: those of `Folder` that say where scenes and masks are, and what the ids mean.

    Raises:
        ConfigError, DataError: see `Folder`.
        MachineError: rasterio is not installed.
    """
    return GeoTIFF(Folder(**options), window)
