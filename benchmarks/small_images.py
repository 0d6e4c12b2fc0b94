"""Random images of 40 x 32 pixels with one object of class 1, and the files that `small_datasets.py` writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HEIGHT, WIDTH = 32, 40
BOX = (6, 5, 22, 17)  # left, top, right, bottom of the object of class 1
FILES = {"train": ("a", "b", "c"), "val": ("d", "e")}
Pixels = NDArray[np.uint8]


def corners() -> list[tuple[int, int]]:
    """Return the outline of the object, as (x, y)."""
    left, top, right, bottom = BOX
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def pixels_of(name: str) -> Pixels:
    """Return random pixels, (HEIGHT, WIDTH, 3) uint8; the name is the seed."""
    return np.random.default_rng(ord(name[0])).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def object_mask(inside: int = 1, outside: int = 0) -> Pixels:
    """Return the mask of the object, (HEIGHT, WIDTH) uint8."""
    mask = np.full((HEIGHT, WIDTH), outside, np.uint8)
    left, top, right, bottom = BOX
    mask[top:bottom, left:right] = inside
    return mask


def save(path: Path, pixels: Pixels) -> None:
    """Write an image, and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def save_text(path: Path, content: Any) -> None:
    """Write text; anything else is written as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")


def pairs(root: Path, image: str, mask: str, inside: int = 1, outside: int = 0) -> None:
    """Write images and masks; their paths are templates with {split} and {name}."""
    for split, names in FILES.items():
        for name in names:
            save(root / image.format(split=split, name=name), pixels_of(name))
            save(root / mask.format(split=split, name=name), object_mask(inside, outside))
