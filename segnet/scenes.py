"""GeoTIFF scenes larger than memory: read window by window, segmented into a mask that lies where the scene does.

By rasterio, an optional package, imported only when asked for. Values are scaled as `segnet.bands` says; scenes of
three bands become uint8 RGB.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.bands import Bands, scaled
from segnet.classes import Classes
from segnet.errors import DataError, MachineError
from segnet.images import replacing

CACHE = 256  # of GDAL, else a share of the machine's memory [MB]
TIFF_BLOCK = 256  # side of the tiles inside the files written [pixels]


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a scene [pixels]."""

    top: int
    left: int
    height: int
    width: int

    def ranges(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Rows and columns, as rasterio takes them."""
        return (self.top, self.top + self.height), (self.left, self.left + self.width)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Opens a scene as a dataset of rasterio; whatever goes wrong inside becomes a DataError that names the file.

    Raises:
        MachineError: rasterio is not installed.
        DataError: no such file, or damaged.
    """
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning
    except ImportError:
        raise MachineError('scenes are read by rasterio, which is not installed: pip install "segnet[geo]"') from None
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # that is no fault
        with rasterio.Env(GDAL_CACHEMAX=CACHE), rasterio.open(path, driver="GTiff") as scene:
            yield scene
    except rasterio.errors.RasterioError as error:
        raise DataError(f"{path}: cannot be read as a GeoTIFF, damaged or cut off ({error})") from None


def grid(size: tuple[int, int], window: Sequence[int]) -> list[Window]:
    """Windows that cover a scene of (height, width), row by row; those at its end are as small as what is left."""
    height, width = size
    return [
        Window(top, left, min(window[0], height - top), min(window[1], width - left))
        for top in range(0, height, window[0])
        for left in range(0, width, window[1])
    ]


def read_window(scene: Any, window: Window, channels: int, path: Path) -> tuple[Bands, NDArray[np.bool_]]:
    """Reads a part of a scene: (h, w, channels), 0-255, and where it has data: (h, w) bool.

    A further band of opacity says where there is data, as the scene's value for no data does.

    Raises:
        DataError: another number of bands, or values that are no numbers.
    """
    has_alpha = scene.colorinterp[-1].name == "alpha"
    if scene.count != channels and not (has_alpha and scene.count == channels + 1):
        raise DataError(
            f"{path}: has {scene.count} bands, but {channels} are asked for (dataset.channels, backbone.in_channels)"
        )
    if has_alpha and scene.count == channels:  # a band like others: of four, GDAL calls the last one so
        valid = np.ones((window.height, window.width), bool)
    else:
        valid = scene.dataset_mask(window=window.ranges()) > 0
    values = scene.read(range(1, channels + 1), window=window.ranges()).transpose(1, 2, 0)
    if values.dtype.kind == "f":
        values = np.where(valid[:, :, None], values, values.dtype.type(0))  # what stands for no data may be NaN
    image = scaled(values, path)
    return (image if channels != 3 else image.round().astype(np.uint8)), valid


def segment_scene(
    predict: Callable[[Bands], NDArray[np.integer]],
    source: Path,
    target: Path,
    classes: Classes,
    channels: int,
    tile: int = 1024,
    margin: int = 128,
) -> None:
    """Segments a scene window by window and writes the mask as a GeoTIFF with its georeference.

    Each window is predicted with `margin` pixels around it, so that no seams show; pixels without data get
    `ignore_index`, which is the file's own value for no data.

    Args:
        predict: image (h, w, channels) -> class ids (h, w).
        source: the scene.
        target: the mask, written whole or not at all.
        classes: names and colours; up to 256 the mask has their colours.
        channels: bands of the scene.
        tile: side of a window [pixels].
        margin: around it [pixels].

    Raises:
        MachineError: rasterio is not installed, or the disk refuses the mask.
        DataError: a scene that cannot be read.
    """
    with opened(source) as scene:
        import rasterio

        size = (scene.height, scene.width)
        small = max(len(classes.names) - 1, classes.ignore_index) <= 255
        profile = {
            "driver": "GTiff",
            "height": size[0],
            "width": size[1],
            "count": 1,
            "dtype": "uint8" if small else "uint16",
            "crs": scene.crs,
            "transform": scene.transform,
            "nodata": classes.ignore_index,
            "compress": "deflate",
            "tiled": True,
            "blockxsize": TIFF_BLOCK,
            "blockysize": TIFF_BLOCK,
            "BIGTIFF": "IF_SAFER",
        }
        with replacing(target) as temporary, rasterio.open(temporary, "w", **profile) as mask:
            if small:
                mask.write_colormap(1, {index: (*colour, 255) for index, colour in enumerate(classes.palette)})
            for window in grid(size, (tile, tile)):
                top, left = max(0, window.top - margin), max(0, window.left - margin)
                bottom = min(size[0], window.top + window.height + margin)
                right = min(size[1], window.left + window.width + margin)
                image, valid = read_window(scene, Window(top, left, bottom - top, right - left), channels, source)
                ids = np.where(valid, predict(image), classes.ignore_index).astype(profile["dtype"])
                inner = ids[window.top - top :, window.left - left :][: window.height, : window.width]
                try:
                    mask.write(inner, 1, window=window.ranges())
                except rasterio.errors.RasterioError as error:
                    raise MachineError(f"{target}: cannot be written ({error})") from None
