"""CVAT's archive "Segmentation mask 1.1" (docs.cvat.ai), which a task imports as its annotations.

Layout: ``labelmap.txt`` (name:red,green,blue:parts:actions), a list of image names without extension in
``ImageSets/Segmentation/default.txt``, and two color masks for each image. ``SegmentationClass`` has the colors of the
labels, ``SegmentationObject`` one color for each object; here, the pixels of a class are one object. Black is
background in both: CVAT makes no annotation of it.
"""

import io
import zipfile
from collections.abc import Collection
from types import TracebackType
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes, Color, is_background, voc_palette
from segnet.errors import ConfigError

BACKGROUND_COLOR = (0, 0, 0)
BACKGROUND_LABEL = "background"  # CVAT's own name
MAX_OBJECTS = 255  # colors that CVAT knows for the objects of an image


class MaskPair(NamedTuple):
    """The two masks of an image, as PNG files."""

    classes: bytes
    objects: bytes


def cvat_labels(classes: Classes) -> dict[str, Color]:
    """The labels of an archive with their colors: unique, and black for background alone.

    A class keeps its color where it can. Without a class named background, one is added in front.

    Raises:
        ConfigError: a class name that a label map cannot hold, or classes that overlap.
    """
    classes.require_one_class("--save cvat")
    for name in classes.names:
        if ":" in name or name.startswith("#") or name != name.strip() or not name.isprintable():
            raise ConfigError(f"--save cvat: the class name {name!r} cannot stand in CVAT's label map: leave it out")
    background = next((name for name in classes.names if is_background(name)), None)
    labels = {BACKGROUND_LABEL: BACKGROUND_COLOR} if background is None else {}
    spare = iter([color for color in voc_palette(2 * len(classes.names)) if color not in classes.palette])
    taken = {BACKGROUND_COLOR}
    for name, color in zip(classes.names, classes.palette, strict=True):
        labels[name] = BACKGROUND_COLOR if name == background else next(spare) if color in taken else color
        taken.add(labels[name])
    return labels


def cvat_masks(mask: NDArray[np.integer], class_ids: Collection[int], classes: Classes) -> MaskPair:
    """The two masks of an image.

    Args:
        mask: (H, W) class ids.
        class_ids: classes that become annotations; pixels of others, and of background, are black.
        classes: the classes of the model.

    Raises:
        ConfigError: a class name that a label map cannot hold, or more than 255 classes in the image.
    """
    labels = cvat_labels(classes)
    counts = np.bincount(mask.ravel(), minlength=len(classes.names))
    drawn = [index for index in sorted(class_ids) if counts[index] and labels[classes.names[index]] != BACKGROUND_COLOR]
    if len(drawn) > MAX_OBJECTS:
        raise ConfigError(f"--save cvat: {len(drawn)} classes in one image; CVAT reads {MAX_OBJECTS}: use --classes")
    colors, objects = (np.zeros((len(counts), 3), np.uint8) for _ in range(2))
    for index, color in zip(drawn, voc_palette(len(drawn)), strict=True):
        colors[index], objects[index] = labels[classes.names[index]], color
    return MaskPair(_png(colors[mask]), _png(objects[mask]))


def _png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class CVATArchive:
    """An archive under construction; a context manager.

    Args:
        file: the file to write, opened for writing bytes.
        classes: the classes of the model.

    Raises:
        ConfigError: a class name that a label map cannot hold.
    """

    def __init__(self, file: IO[bytes], classes: Classes) -> None:
        labels = cvat_labels(classes)
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED)  # PNG files are compressed already
        rows = [f"{name}:{color[0]},{color[1]},{color[2]}::\n" for name, color in labels.items()]
        self._write("labelmap.txt", "".join(["# label:color_rgb:parts:actions\n", *rows]).encode())
        self.names: list[str] = []

    def add(self, name: str, masks: MaskPair) -> None:
        """Add an image.

        Args:
            name: path of the image in the task, without extension; parts are separated by slashes.
            masks: from `cvat_masks`.
        """
        self._write(f"SegmentationClass/{name}.png", masks.classes)
        self._write(f"SegmentationObject/{name}.png", masks.objects)
        self.names.append(name)

    def _write(self, name: str, content: bytes) -> None:
        self._zip.writestr(zipfile.ZipInfo(name), content)  # without the time: equal content, equal file

    def __enter__(self) -> "CVATArchive":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            listing = "".join(f"{name}\n" for name in self.names)
            self._write("ImageSets/Segmentation/default.txt", listing.encode())
        self._zip.close()
