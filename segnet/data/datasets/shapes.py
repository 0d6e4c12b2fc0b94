"""Built-in dataset: images of shapes, generated from (seed, index), without files.

Each class has a typical hue with a spread that almost reaches the next class: color helps, but outlines decide. Shapes
overlap, surfaces have textures, the lighting varies across the image, and noise is added. With task=multilabel, disks
and rings are translucent: a pixel may be part of both, which no single class per pixel describes.
"""

import colorsys
import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from segnet.classes import MULTICLASS, MULTILABEL, TASKS, Classes
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.pairing import SPLITS, require_split
from segnet.errors import ConfigError

CLASSES = Classes.create(
    names=["background", "disk", "ring", "square", "triangle", "cross"],
    palette=[[40, 40, 40], [230, 60, 60], [250, 190, 40], [70, 140, 240], [60, 190, 90], [170, 90, 220]],
)
OVERLAPPING = Classes.create(["disk", "ring"], [[230, 60, 60], [70, 140, 240]], task=MULTILABEL)
OVERLAPPING_HUES = (0.0, 180.0)  # typical hue of each of these classes [degrees]
OPACITY = 0.6  # of translucent shapes
RADII = (11.0, 21.0)  # range of the shapes' radii [pixels]
AREA_PER_SHAPE = 1600  # image area per shape, on average [pixels]
AREA_PER_OVERLAPPING = 500  # the same for translucent shapes: most of them overlap
HUE_SPREAD = 32  # around the typical hue of a class; five classes share 360 degrees [degrees]
SHIFT = 4  # fractional bits of coordinates in OpenCV: 1/16 pixel


def polygon(points: NDArray[np.float64]) -> Callable[[NDArray[np.uint8], NDArray[np.float64]], None]:
    """Return a function that draws a closed polygon; `points` (N, 2) in units of the radius."""

    def paint(canvas: NDArray[np.uint8], transform: NDArray[np.float64]) -> None:
        placed = points @ transform[:, :2].T + transform[:, 2]
        cv2.fillPoly(canvas, [np.round(placed * 2**SHIFT).astype(np.int32)], 1, shift=SHIFT)

    return paint


def regular(corners: int) -> NDArray[np.float64]:
    angles = np.arange(corners) * 2 * math.pi / corners
    return np.stack([np.sin(angles), -np.cos(angles)], axis=1)


ARM = 0.28  # half the width of a cross's arm, in units of the radius
CROSS_QUARTER = np.array([(-ARM, -1), (ARM, -1), (ARM, -ARM)])
QUARTER_TURN = np.array([(0, 1), (-1, 0)])
CROSS = np.vstack([CROSS_QUARTER @ np.linalg.matrix_power(QUARTER_TURN, turns) for turns in range(4)])
OUTLINES = {
    "disk": polygon(regular(48)),
    "ring": polygon(regular(48)),
    "square": polygon(regular(4)),
    "triangle": polygon(1.2 * regular(3)),
    "cross": polygon(CROSS),
}


class Shapes(SegmentationDataset):
    """Disks, rings, squares, triangles and crosses on a background.

    Args:
        split: "train", "val" or "test"; they share no image.
        num_train, num_val, num_test: number of images in each split.
        size: (height, width) [pixels].
        seed: of the whole dataset.
        task: "multiclass", or "multilabel" for translucent disks and rings that overlap.

    Raises:
        ConfigError: an unknown split or task, a count below 1 or a size below 16.
    """

    def __init__(
        self,
        split: str,
        num_train: int = 1600,
        num_val: int = 100,
        num_test: int = 100,
        size: tuple[int, int] = (64, 64),
        seed: int = 0,
        task: str = MULTICLASS,
    ) -> None:
        counts = {"train": num_train, "val": num_val, "test": num_test}
        require_split(split)
        if counts[split] < 1:
            raise ConfigError(f"dataset.num_{split}={counts[split]} must be 1 or more")
        if len(size) != 2 or min(size) < 16:
            raise ConfigError(f"dataset.size={list(size)} is not [height, width], each 16 or more")
        if task not in TASKS:
            raise ConfigError(f"dataset.task={task} is unknown: choose from {', '.join(TASKS)}")
        self.classes = OVERLAPPING if task == MULTILABEL else CLASSES
        self.split = split
        self.size = (int(size[0]), int(size[1]))
        self.seed = seed
        self._length = counts[split]

    def __len__(self) -> int:
        return self._length

    def load(self, index: int) -> Sample:
        rng = np.random.default_rng([self.seed, SPLITS.index(self.split), index])
        image, mask = (draw_overlapping if self.classes.is_multilabel else draw)(rng, self.size)
        return Sample(image, mask, f"shapes/{self.split}/{index}")


def draw(rng: Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image.

    Returns:
        Image (H, W, 3) uint8 RGB and mask (H, W) uint8.
    """
    image = texture(rng, size, hue=rng.uniform(0, 360), saturation=rng.uniform(0, 0.3))
    mask = np.zeros(size, np.uint8)
    names = CLASSES.names[1:]
    for _ in range(round(size[0] * size[1] / AREA_PER_SHAPE * rng.uniform(0.6, 1.4))):
        kind = int(rng.integers(len(names)))
        shape = outline(rng, names[kind], size)
        hue = 360 * kind / len(names) + rng.uniform(-HUE_SPREAD, HUE_SPREAD)
        image[shape] = texture(rng, size, hue, saturation=rng.uniform(0.4, 0.9))[shape]
        mask[shape] = kind + 1
    return photographed(rng, image), mask


def draw_overlapping(rng: Generator, size: tuple[int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one image of translucent shapes.

    Returns:
        Image (H, W, 3) uint8 RGB and planes (2, H, W) uint8 of 0 and 1: disks and rings.
    """
    image = texture(rng, size, hue=rng.uniform(0, 360), saturation=rng.uniform(0, 0.2))
    planes = np.zeros((len(OVERLAPPING.names), *size), np.uint8)
    for _ in range(round(size[0] * size[1] / AREA_PER_OVERLAPPING * rng.uniform(0.6, 1.4))):
        kind = int(rng.integers(len(planes)))
        shape = outline(rng, OVERLAPPING.names[kind], size)
        hue = OVERLAPPING_HUES[kind] + rng.uniform(-HUE_SPREAD, HUE_SPREAD)
        painted = texture(rng, size, hue, saturation=rng.uniform(0.6, 0.9))
        image[shape] = (1 - OPACITY) * image[shape] + OPACITY * painted[shape]
        planes[kind][shape] = 1
    return photographed(rng, image), planes


def photographed(rng: Generator, image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Add lighting, blur and noise to an image (H, W, 3), 0-255, which is changed: uint8."""
    image *= lighting(rng, (image.shape[0], image.shape[1]))[:, :, None]
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 0.8)), np.float32)
    image += rng.normal(0, rng.uniform(2, 10), image.shape).astype(np.float32)
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def outline(rng: Generator, name: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw a shape of random position, size, rotation and mild stretch: bool (H, W)."""
    height, width = size
    radius = rng.uniform(*RADII)
    angle = rng.uniform(0, 2 * math.pi)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    stretch = np.diag([1.0, rng.uniform(0.8, 1.0)])
    center = np.array([[rng.uniform(0, width)], [rng.uniform(0, height)]])
    canvas = np.zeros(size, np.uint8)
    OUTLINES[name](canvas, np.hstack([radius * turn @ stretch, center]))
    if name == "ring":
        hole = np.zeros(size, np.uint8)
        OUTLINES[name](hole, np.hstack([0.5 * radius * turn @ stretch, center]))
        canvas &= ~hole
    return canvas.astype(bool)


def texture(rng: Generator, size: tuple[int, int], hue: float, saturation: float) -> NDArray[np.float32]:
    """Draw a texture in two brightnesses of one color: plain, gradient, stripes, checks or clouds.

    Args:
        hue: [degrees].
        saturation: 0-1.

    Returns:
        (H, W, 3) float32 RGB, 0-255.
    """
    height, width = size
    bright, dark = (
        255 * np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32)
        for value in (rng.uniform(0.65, 0.95), rng.uniform(0.3, 0.6))
    )
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    angle = rng.uniform(0, math.pi)
    along = rows * math.sin(angle) + columns * math.cos(angle)
    across = rows * math.cos(angle) - columns * math.sin(angle)
    period = rng.uniform(4, 12)
    kind = rng.integers(5)
    if kind == 0:
        weight = np.zeros(size, np.float32)
    elif kind == 1:
        weight = (along - along.min()) / (along.max() - along.min() + 1e-6)
    elif kind == 2:
        weight = 0.5 + 0.5 * np.sin(along * 2 * math.pi / period)
    elif kind == 3:
        weight = ((along // period + across // period) % 2).astype(np.float32)
    else:
        coarse = rng.uniform(0, 1, (max(2, height // 12), max(2, width // 12))).astype(np.float32)
        weight = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)
    contrast = rng.uniform(0.2, 1.0)  # some textures are faint
    return bright + (dark - bright) * (contrast * weight)[:, :, None].astype(np.float32)


def lighting(rng: Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """Brightness that changes linearly across the image: (H, W) float32, 0.5-1.3."""
    rows, columns = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    fall = (rows * math.sin(angle) + columns * math.cos(angle)) / math.sqrt(2)
    light: NDArray[np.float32] = (rng.uniform(0.8, 1.0) + rng.uniform(0, 0.3) * fall).astype(np.float32)
    return light
