"""Masks that formats of annotation tools find difficult, and the pixels of polygons by an independent rasterizer."""

import numpy as np
from PIL import Image

from segnet.classes import Classes
from segnet.inference.segmentation import Segmentation

CLASSES = Classes.create(["background", "a", "b b", "ç"], [[0, 0, 0], [1, 2, 3], [200, 100, 0], [0, 0, 255]])
NO_BACKGROUND = Classes.create(["a", "b b", "ç"], [[9, 9, 9], [9, 9, 9], [0, 0, 0]])


def difficult_masks(num_classes: int) -> list[np.ndarray]:
    """Masks of odd sizes: holes in holes, single pixels, diagonals, thin lines, borders, one class, noise."""
    nested = np.zeros((31, 45), np.uint8)
    for step, value in enumerate([1, 0, 2, 1, 2]):
        nested[3 * step : 31 - 3 * step, 3 * step : 45 - 3 * step] = value
    nested[15, 20:24] = 0
    chess = (np.indices((7, 9)).sum(axis=0) % 2).astype(np.uint8)
    cross = np.zeros((9, 11), np.uint8)
    cross[4], cross[:, 5], cross[0, 0], cross[8, 10] = 2, 2, 1, 1
    masks = [nested, chess, cross, np.eye(13, 8, dtype=np.uint8), np.ones((1, 1), np.uint8), np.zeros((5, 3), np.uint8)]
    rng = np.random.default_rng(0)
    for size in [(1, 17), (19, 1), (23, 29), (37, 16)]:
        masks.append(rng.integers(0, num_classes, size).astype(np.uint8))
        masks.append(np.where(rng.random(size) < 0.85, 1, 0).astype(np.uint8))
        masks.append(np.kron(rng.integers(0, num_classes, size), np.ones((2, 3))).astype(np.uint8))
    return masks


def segmentations(classes: Classes, probabilities: bool = False) -> list[Segmentation]:
    """The difficult masks as results of a prediction."""
    rng, found = np.random.default_rng(0), []
    for mask in difficult_masks(len(classes.names)):
        image = np.zeros((*mask.shape, 3), np.uint8)
        values = rng.random((len(classes.names), *mask.shape)).astype(np.float16) if probabilities else None
        found.append(Segmentation(image, mask, classes, values))
    return found


def write_images(folder, results: list[Segmentation]) -> list[str]:
    """Write an image for each result, also in sub-folders; return their paths in the folder without extension."""
    names = [f"{'sub folder/' if index % 3 == 0 else ''}{index:02d}.x é" for index in range(len(results))]
    for name, result in zip(names, results, strict=True):
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(result.image).save(path)
    return names


def filled(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels with centers inside a ring, by counting edges to the left."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for (x1, y1), (x2, y2) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y1 != y2:
            crosses = (np.minimum(y1, y2) < y) & (y < np.maximum(y1, y2))
            inside ^= crosses & (x1 + (y - y1) * (x2 - x1) / (y2 - y1) < x)
    return inside


def read_back(splits, classes: Classes, folder) -> dict[str, np.ndarray]:
    """The masks of the splits of a dataset by path without extension, in the ids of `classes`, matched by name."""
    found = {}
    for dataset in splits:
        ids = [classes.names.index(name) if name in classes.names else 254 for name in dataset.classes.names]
        table = np.full(256, 255)
        table[: len(ids)] = ids
        for index in range(len(dataset)):
            sample = dataset.load(index)
            found[str(sample.name).removeprefix(f"{folder}/").removesuffix(".png")] = table[sample.mask]
    return found


def assert_same_masks(found: dict[str, np.ndarray], names: list[str], results: list[Segmentation]) -> None:
    """Assert that masks read back are those of the results, bit for bit."""
    assert sorted(found) == sorted(names)
    for name, result in zip(names, results, strict=True):
        np.testing.assert_array_equal(found[name], result.mask, err_msg=name)
