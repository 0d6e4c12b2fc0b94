"""GeoTIFF scenes larger than memory: read window by window, segmented into a mask that lies where the scene does.

Uses rasterio, an optional package, imported on demand. Values are scaled as in `segnet.images.bands`; scenes of three
bands become uint8 RGB.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.errors import DataError, MachineError
from segnet.images.bands import Bands, scaled
from segnet.images.files import scaled_to_uint8
from segnet.images.windows import Window
from segnet.system.files import replacing

CACHE = 256  # of GDAL, else a share of the machine's memory [MB]
TIFF_BLOCK = 256  # side of the tiles inside the files written [pixels]


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


def read_window(scene: Any, window: Window, channels: int, path: Path) -> tuple[Bands, NDArray[np.bool_]]:
    """Reads a part of a scene: (h, w, channels), 0-255, and where it has data: (h, w) bool.

    Raises:
        DataError: another number of bands, or values that are no numbers.
    """
    has_alpha = scene.colorinterp[-1].name == "alpha"
    if scene.count != channels and not (has_alpha and scene.count == channels + 1):
        raise DataError(
            f"{path}: has {scene.count} bands, but {channels} are asked for (dataset.channels, backbone.in_channels)"
        )
    valid = valid_pixels(scene, window, channels)
    values = scene.read(range(1, channels + 1), window=window.ranges()).transpose(1, 2, 0)
    if values.dtype.kind == "f":
        values = np.where(valid[:, :, None], values, values.dtype.type(0))  # what stands for no data may be NaN
    return (scaled_to_uint8(values, path) if channels == 3 else scaled(values, path)), valid


def valid_pixels(scene: Any, window: Window, channels: int) -> NDArray[np.bool_]:
    """Where a part of a scene has data, (h, w): a further band of opacity says it, or the scene's value for no data."""
    if scene.colorinterp[-1].name == "alpha" and scene.count == channels:
        return np.ones((window.height, window.width), bool)  # a band like others: of four, GDAL calls the last one so
    valid: NDArray[np.bool_] = scene.dataset_mask(window=window.ranges()) > 0
    return valid


# (height, width), what reads a window of the picture, what takes the class ids (h, w) of a part of it
Segment = Callable[[tuple[int, int], Callable[[Window], Bands], Callable[[Window, NDArray[np.integer]], None]], None]


def segment_scene(segment: Segment, source: Path, target: Path, classes: Classes, channels: int) -> None:
    """Segments a scene part by part and writes the mask as a GeoTIFF with its georeference.

    Pixels without data get `ignore_index`, which is the file's own value for no data.

    Args:
        segment: `segnet.inference.predictor.Predictor.stream`.
        source: the scene.
        target: the mask, written whole or not at all.
        classes: names and colors; up to 256 the mask has their colors.
        channels: bands of the scene.

    Raises:
        MachineError: rasterio is not installed, or the disk refuses the mask.
        DataError: a scene that cannot be read.
    """
    with opened(source) as scene:
        import rasterio

        small = max(len(classes.names) - 1, classes.ignore_index) <= 255
        profile = {
            "driver": "GTiff",
            "height": scene.height,
            "width": scene.width,
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
                mask.write_colormap(1, {index: (*color, 255) for index, color in enumerate(classes.palette)})

            def write(part: Window, ids: NDArray[np.integer]) -> None:
                known = np.where(valid_pixels(scene, part, channels), ids, classes.ignore_index)
                try:
                    mask.write(known.astype(profile["dtype"]), 1, window=part.ranges())
                except rasterio.errors.RasterioError as error:
                    raise MachineError(f"{target}: cannot be written ({error})") from None

            segment((scene.height, scene.width), lambda window: read_window(scene, window, channels, source)[0], write)
