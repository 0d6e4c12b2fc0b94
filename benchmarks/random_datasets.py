"""Datasets of random sizes, classes and kinds of images, which `random_configurations.py` writes and trains on."""

import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

IGNORED = 255
SIZES = ((1, 1), (24, 24), (33, 17), (64, 96), (97, 255), (120, 200), (240, 320), (480, 640), (700, 90), (600, 800))
Pixels = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Data:
    """A dataset to write.

    Attributes:
        kind: key of KINDS.
        sizes: (height, width) of the images, one after the other [pixels].
        num_train, num_val: number of images.
        num_classes: number of classes.
        ignored: whether masks have ignored pixels.
    """

    kind: str
    sizes: tuple[tuple[int, int], ...]
    num_train: int
    num_val: int
    num_classes: int
    ignored: bool


def draw_data(rng: random.Random) -> Data:
    """Draw a dataset: images of one size, or of three."""
    sizes = tuple(rng.choice(SIZES) for _ in range(rng.choice((1, 1, 3))))
    numbers = rng.choice(((1, 1), (3, 1), (8, 3), (12, 3)))
    return Data(rng.choice(list(KINDS)), sizes, *numbers, rng.choice((2, 2, 3, 11, 40)), rng.random() < 0.4)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of image file: ending, channels, and the file's content for RGBA pixels (H, W, 4) uint8."""

    suffix: str
    channels: int
    encode: Callable[[Pixels], bytes]


def _pillow(format: str, convert: Callable[[Pixels], Image.Image]) -> Callable[[Pixels], bytes]:
    def encode(pixels: Pixels) -> bytes:
        with tempfile.SpooledTemporaryFile() as file:
            convert(pixels).save(file, format)
            file.seek(0)
            return file.read()

    return encode


def _wide(pixels: Pixels) -> Pixels:
    """16-bit values of 8-bit ones."""
    return pixels.astype(np.uint16) * 257


KINDS = {
    "RGB, PNG": Kind(".png", 3, _pillow("png", lambda pixels: Image.fromarray(pixels[..., :3]))),
    "RGB, JPEG": Kind(".jpg", 3, _pillow("jpeg", lambda pixels: Image.fromarray(pixels[..., :3]))),
    "gray, PNG": Kind(".png", 1, _pillow("png", lambda pixels: Image.fromarray(pixels[..., 0]))),
    "RGBA, PNG": Kind(".png", 4, _pillow("png", Image.fromarray)),
    "palette, PNG": Kind(".png", 3, _pillow("png", lambda pixels: Image.fromarray(pixels[..., :3]).quantize(64))),
    "16-bit gray, PNG": Kind(".png", 1, _pillow("png", lambda pixels: Image.fromarray(_wide(pixels[..., 0])))),
    "16-bit RGB, PNG": Kind(".png", 3, lambda pixels: cv2.imencode(".png", _wide(pixels[..., :3]))[1].tobytes()),
    "float gray, TIFF": Kind(
        ".tif", 1, _pillow("tiff", lambda pixels: Image.fromarray(pixels[..., 0].astype(np.float32) / 255))
    ),
}


def write_data(data: Data, root: Path, seed: int) -> None:
    """Write images and masks: rectangles of a class each, in its color, with noise."""
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (data.num_classes, 4), np.uint8)
    kind = KINDS[data.kind]
    for split, count in (("train", data.num_train), ("val", data.num_val)):
        for index in range(count):
            height, width = data.sizes[index % len(data.sizes)]
            coarse = rng.integers(0, data.num_classes, (1 + height // 40, 1 + width // 40), np.uint8)
            mask = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST)
            noise = rng.integers(-20, 21, (height, width, 4))
            pixels = np.clip(colors[mask].astype(int) + noise, 0, 255).astype(np.uint8)
            if data.ignored:
                mask[: height // 4] = IGNORED
            for name, suffix, content in (
                ("images", kind.suffix, kind.encode(pixels)),
                ("masks", ".png", _pillow("png", Image.fromarray)(mask)),
            ):
                path = root / name / split / f"{index}{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
