"""GeoTIFF scenes larger than memory: windowed reading, and segmentation into a georeferenced mask.

Uses rasterio, an optional package, imported on demand. Values equal those of `segnet.images.bands.read_bands`, except
for pixels without data, which are excluded here.
"""

import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.errors import DataError, MachineError
from segnet.images.bands import Channels, arranged, require_channels, scale_channels
from segnet.images.geotiff_masks import fill_mask, mask_profile, written_mask
from segnet.images.header import read_tiff_layouts
from segnet.images.little_range import LittleRange
from segnet.images.masks import LabelValues, require_lossless, whole_labels
from segnet.images.placement import MAX_OFFSET, georeference, offset
from segnet.images.stored import PixelKind, Stored, kind_of_tiff, require_real
from segnet.images.tiff.decode import MAX_TILE_PADDING
from segnet.images.tiff.layout import Layout
from segnet.images.values import Bands, ValueRange, clipping_warning, for_trained_model, scaled
from segnet.images.windows import Window
from segnet.system.files import replacing

GDAL_CACHE = 256  # GDAL's block cache; its default is a fraction of the machine's memory [MB]


class Scene:
    """An open GeoTIFF.

    Args:
        path: path of the file.
        dataset: rasterio dataset.
        layout: TIFF layout of the file.

    Attributes:
        size: (height, width) [pixels].
        full: the value of white.
    """

    def __init__(self, path: Path, dataset: Any, layout: Layout) -> None:
        self.path, self.dataset = path, dataset
        self.size: tuple[int, int] = (dataset.height, dataset.width)
        self._layout, self._kind = layout, kind_of_tiff(layout)
        self.full = self._kind.full

    def read(
        self,
        window: Window,
        channels: int,
        value_range: ValueRange | None = None,
        limits: list[tuple[float, float]] | None = None,
    ) -> tuple[Bands, NDArray[np.bool_]]:
        """Read a window: (h, w, channels), 0-255, and its data mask, (h, w).

        Args:
            limits: list to which the smallest and largest stored value with data are appended.

        Raises:
            DataError: another number of bands, or values out of range.
        """
        found, valid = self.read_channels(window, channels)
        values = found.values
        if values.dtype != np.uint8:  # nodata values may be NaN or out of range
            values = np.where(valid[:, :, None], values, values.dtype.type(0))
        if limits is not None and (known := found.values[valid]).size:
            limits.append((known.min().item(), known.max().item()))
        return scale_channels(Channels(values, found.full), self.path, value_range), valid

    def read_channels(self, window: Window, channels: int) -> tuple[Channels, NDArray[np.bool_]]:
        """Read a window as stored in the file, and its data mask.

        Raises:
            DataError: another number of bands, or complex numbers.
        """
        require_real(self._layout, self.path)
        require_channels(self._kind, channels, self.path)
        kind, bands = self._bands(channels)
        values = self.dataset.read(bands, window=window.ranges()).transpose(1, 2, 0)
        valid = self.valid(window, channels, values)
        return arranged(Stored(values, kind), channels, self.path), valid

    def valid(self, window: Window, channels: int, values: NDArray[Any] | None = None) -> NDArray[np.bool_]:
        """The data mask of a window, (h, w): whether pixels have data.

        A pixel has no data if alpha or a mask excludes it, if a band is not finite, or if a band has the nodata value.
        In 8-bit images all bands must have it: 0 also occurs in dark colors.

        Args:
            values: stored values of the window; None: read if needed.
        """
        kind, bands = self._bands(channels)
        has_alpha = kind.num_samples < self._kind.num_samples
        if self._kind.has_alpha and not has_alpha:  # alpha is read as a band
            valid = np.ones((window.height, window.width), bool)
        else:
            masks = self.dataset.read_masks(bands, window=window.ranges()) > 0
            by_band = np.dtype(self.dataset.dtypes[0]) != np.uint8
            valid = masks.all(axis=0) if by_band else masks.any(axis=0)
        if np.dtype(self.dataset.dtypes[0]).kind == "f":
            if values is None:
                values = self.dataset.read(bands, window=window.ranges()).transpose(1, 2, 0)
            valid &= np.isfinite(values).all(axis=2)
        return valid

    def read_labels(self, window: Window, kept: Collection[int] = ()) -> LabelValues:
        """Read a window of a mask: stored ids, and pixels without data.

        Args:
            kept: ids that are labels even if the file declares them as nodata.

        Raises:
            DataError: values that are not whole numbers.
        """
        from rasterio.enums import MaskFlags

        values = self.dataset.read(1, window=window.ranges())
        found = whole_labels(values, self.dataset.nodatavals[0], self.path, kept)
        if MaskFlags.per_dataset not in self.dataset.mask_flag_enums[0]:
            return found
        masked = self.dataset.read_masks(1, window=window.ranges()) == 0
        masked = masked if found.no_data is None else masked | found.no_data
        return replace(found, no_data=masked if masked.any() else None)

    def _bands(self, channels: int) -> tuple[PixelKind, list[int]]:
        """The bands to read for a number of channels; alpha is excluded unless it is one of them."""
        kind, count = self._kind, self._kind.num_samples
        if kind.has_alpha and channels != count:
            kind, count = replace(kind, num_samples=count - 1, has_alpha=False), count - 1
        return kind, list(range(1, count + 1))


@contextmanager
def opened(path: Path) -> Iterator[Scene]:
    """Open a scene; every error inside becomes a DataError that names the file.

    Raises:
        MachineError: rasterio is not installed.
        DataError: missing, damaged, not a GeoTIFF, or with blocks too large for memory.
    """
    try:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning
    except ImportError:
        raise MachineError('GeoTIFF scenes need rasterio, which is not installed: pip install "segnet[geo]"') from None
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    layouts = read_tiff_layouts(path, most=1, limited=False)
    if not layouts:
        raise DataError(f"{path}: cannot be read as a GeoTIFF: it is not a TIFF file")
    _require_readable(path, layouts[0])
    try:
        warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)  # not an error
        with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE), rasterio.open(path, driver="GTiff") as dataset:
            yield Scene(path, dataset, layouts[0])
    except rasterio.errors.RasterioError as error:
        raise DataError(f"{path}: cannot be read as a GeoTIFF, damaged or cut off ({error})") from None


def _require_readable(path: Path, layout: Layout) -> None:
    """Refuse files with huge blocks, or with an orientation, which GDAL reads differently from `read_bands`."""
    pixels, block = layout.height * layout.width, layout.tile[0] * layout.tile[1]
    limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
    if block > pixels + MAX_TILE_PADDING or (limit and block > limit):
        raise DataError(
            f"{path}: stored in blocks of {layout.tile[1]} x {layout.tile[0]} pixels: rewrite it with "
            "gdal_translate -co TILED=YES"
        )
    if layout.orientation not in (0, 1):
        raise DataError(
            f"{path}: has orientation {layout.orientation}, which GDAL does not apply: save it upright (orientation 1)"
        )


def common_size(scene_path: Path, mask_path: Path) -> tuple[int, int]:
    """(height, width) of a scene and its mask.

    Raises:
        DataError: different grids, or a mask with several bands or lossy compression.
    """
    require_lossless(mask_path)
    with opened(scene_path) as scene, opened(mask_path) as mask:
        (height, width), (mask_height, mask_width) = scene.size, mask.size
        if (mask_height, mask_width) != (height, width):
            raise DataError(
                f"{mask_path}: {mask_width} x {mask_height} pixels, but its scene {scene_path} has "
                f"{width} x {height}: a mask must have the size of its scene"
            )
        if mask.dataset.count != 1:
            raise DataError(f"{mask_path}: has {mask.dataset.count} bands: save class ids as a single band")
        distance = offset(scene.dataset, mask.dataset)
        if distance is not None and distance > MAX_OFFSET:
            far = f", by {distance:.4g} pixels" if distance < 1e6 else ""
            raise DataError(f"{mask_path}: its grid is offset from its scene {scene_path}{far}: resample to one grid")
        return height, width


# (height, width), function that reads a window, function that receives the class ids (h, w) of a tile
Segment = Callable[[tuple[int, int], Callable[[Window], Bands], Callable[[Window, NDArray[np.integer]], None]], None]


def segment_scene(
    segment: Segment,
    source: Path,
    target: Path,
    classes: Classes,
    channels: int,
    value_range: ValueRange | None = None,
    least_areas: NDArray[np.int64] | None = None,
    little_range: LittleRange | None = None,
) -> str:
    """Segment a scene tile by tile and write the mask as a GeoTIFF with the same georeference.

    Pixels without data get `ignore_index`, which is the nodata value of the mask.

    Args:
        segment: `segnet.inference.predictor.Predictor.stream`.
        source: the scene.
        target: the mask, written atomically.
        classes: names and colors; with up to 256 classes the mask has their colors as palette.
        channels: input channels of the model.
        value_range: value range of the model, see `Scene.read`.
        least_areas: smallest region by label [pixels], see `segnet.images.regions`; None: all stay. The mask is then
            written to a temporary file first, and its regions are found in strips: tiles have no influence.
        little_range: warns of a scene that is almost black to the model; None: no such warning.

    Returns:
        A warning; empty without one.

    Raises:
        MachineError: rasterio is not installed, or the mask cannot be written.
        DataError: the scene cannot be read.
    """
    with opened(source) as scene:
        limits: list[tuple[float, float]] = []
        place = georeference(scene.dataset)
        profile = mask_profile(scene.size, classes) | place
        with replacing(target) as temporary:
            with written_mask(temporary, target, profile, classes) as put:

                def write(part: Window, ids: NDArray[np.integer]) -> None:
                    put(part, np.where(scene.valid(part, channels), ids, classes.ignore_index))

                with for_trained_model():
                    segment(scene.size, lambda window: scene.read(window, channels, value_range, limits)[0], write)
            if least_areas is not None:
                fill_mask(temporary, target, profile, classes, least_areas)
        dark = little_range.of_stored(max(high for _, high in limits), scene.full) if little_range and limits else ""
    unplaced = "" if place.keys() - {"crs"} else "has no georeference; its mask has none either"
    return "; ".join(filter(None, [unplaced, dark, _clipping_warning(limits, value_range)]))


def _clipping_warning(limits: Sequence[tuple[float, float]], value_range: ValueRange | None) -> str:
    """Warn if the value range clips a scene to one color, from the limits of its windows."""
    if not limits or value_range is None:
        return ""
    stored = np.array([[[min(low for low, _ in limits)], [max(high for _, high in limits)]]])
    darkest, brightest = scaled(stored, np.inf, "", value_range).ravel().tolist()
    return clipping_warning(darkest, brightest, value_range, lambda: stored)
