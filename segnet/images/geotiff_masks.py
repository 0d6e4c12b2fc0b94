"""Write masks as GeoTIFFs: window by window, and their small regions in a second pass."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.errors import MachineError
from segnet.images.regions import fill_in_strips
from segnet.images.windows import Window

TIFF_BLOCK = 256  # side of the tiles in written files [pixels]


def mask_profile(size: tuple[int, int], classes: Classes) -> dict[str, Any]:
    """Options of rasterio for a mask of (height, width): `ignore_index` is its nodata value."""
    small = max(len(classes.names) - 1, classes.ignore_index) <= 255
    return {
        "driver": "GTiff",
        "height": size[0],
        "width": size[1],
        "count": 1,
        "dtype": "uint8" if small else "uint16",
        "nodata": classes.ignore_index,
        "compress": "deflate",
        "tiled": True,
        "blockxsize": TIFF_BLOCK,
        "blockysize": TIFF_BLOCK,
        "BIGTIFF": "IF_SAFER",
    }


@contextmanager
def written_mask(
    path: Path, target: Path, profile: dict[str, Any], classes: Classes
) -> Iterator[Callable[[Window, NDArray[np.integer]], None]]:
    """Write a mask; yields a function that writes the ids (h, w) of a window.

    Args:
        path: file to write.
        target: name of the file in errors.
        profile: as `mask_profile` gives it, with a georeference.
        classes: with up to 256 classes the mask has their colors as palette.

    Raises:
        MachineError: the file cannot be written.
    """
    import rasterio

    with rasterio.open(path, "w", **profile) as mask:
        if profile["dtype"] == "uint8":
            mask.write_colormap(1, {index: (*color, 255) for index, color in enumerate(classes.palette)})

        def put(window: Window, ids: NDArray[np.integer]) -> None:
            try:
                mask.write(ids.astype(profile["dtype"]), 1, window=window.ranges())
            except rasterio.errors.RasterioError as error:
                raise MachineError(f"{target}: cannot be written ({error})") from None

        yield put


def fill_mask(
    path: Path, target: Path, profile: dict[str, Any], classes: Classes, least_areas: NDArray[np.int64]
) -> None:
    """Replace the small regions of a written mask, see `segnet.images.regions`; it is in memory in strips only.

    Args:
        path: the mask, which is replaced.
        target, profile, classes: as in `written_mask`.
        least_areas: smallest region by label [pixels].

    Raises:
        MachineError: the file cannot be written.
    """
    import rasterio

    height, width = profile["height"], profile["width"]
    # Named like other temporary files of the target, which are removed after a kill.
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    os.close(handle)
    try:
        with rasterio.open(path) as mask, written_mask(Path(name), target, profile, classes) as put:
            changes = fill_in_strips(
                (height, width),
                lambda top, end: mask.read(1, window=((top, end), (0, width))),
                lambda top, rows: put(Window(top, 0, len(rows), width), rows),
                least_areas,
            )
        if changes:
            os.replace(name, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
