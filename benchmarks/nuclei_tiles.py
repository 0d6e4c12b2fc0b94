"""Cut a 16-bit image of nuclei into a dataset, to measure the effect of the value range on training.

    pip download --no-deps stardist && unzip stardist-*.whl "stardist/data/images/*2d.tif"
    python benchmarks/nuclei_tiles.py stardist/data/images nuclei
    segnet inspect dataset=folder dataset.root=nuclei

The example image of StarDist (BSD-3-Clause) has 512 x 512 pixels and 183 nuclei, numbered in its mask. It becomes 16
tiles of 128 x 128, four of them for val. docs/benchmarks.md has the commands and the results.
"""

import argparse
from pathlib import Path

from PIL import Image

from segnet.images.masks import read_mask

SIDE = 128  # side of a tile [pixels]
VAL = ((0, 0), (1, 2), (2, 1), (3, 3))  # tiles of val: row and column


def cut(source: Path, target: Path) -> None:
    """Write a 16-bit image as PNG tiles into `target`/train and `target`/val."""
    pixels = read_mask(source)  # a single channel of integers, as stored
    for row in range(pixels.shape[0] // SIDE):
        for column in range(pixels.shape[1] // SIDE):
            folder = target / ("val" if (row, column) in VAL else "train")
            folder.mkdir(parents=True, exist_ok=True)
            top, left = SIDE * row, SIDE * column
            Image.fromarray(pixels[top : top + SIDE, left : left + SIDE]).save(folder / f"{row}{column}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="folder with img2d.tif and mask2d.tif")
    parser.add_argument("target", type=Path, help="folder to write")
    options = parser.parse_args()
    cut(options.source / "img2d.tif", options.target / "images")
    cut(options.source / "mask2d.tif", options.target / "masks")


if __name__ == "__main__":
    main()
