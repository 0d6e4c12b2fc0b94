"""Fixtures that write small datasets into a folder."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WritePairs = Callable[..., list[str]]


@pytest.fixture
def write_pairs() -> WritePairs:
    """Return a function that writes an image and a mask of ids 0-2 per name into two folders, and returns the names."""

    def write(
        images: Path, masks: Path, names: Iterable[str], suffix: str = "png", size: tuple[int, int] = (6, 8)
    ) -> list[str]:
        names = list(names)
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(names):
            rng = np.random.default_rng(number)
            Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(images / f"{name}.{suffix}")
            Image.fromarray(rng.integers(0, 3, size, np.uint8)).save(masks / f"{name}.png")
        return names

    return write
