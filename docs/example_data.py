"""Draw an example dataset into a folder, in the layout that `dataset=folder` reads: the embedded `shapes` as files.

    python docs/example_data.py mydata
    python docs/example_data.py mydata --train 12 --val 4 --size 64 96

It writes mydata/images/{train,val}/NNN.jpg and mydata/masks/{train,val}/NNN.png, with class ids as gray values. The
same arguments draw the same files.
"""

import argparse
from pathlib import Path

from PIL import Image

from segnet.data.datasets.shapes import Shapes


def write_folder(root: Path, num_train: int, num_val: int, size: tuple[int, int], seed: int = 0) -> list[str]:
    """Write images and masks below `root`; return the class names.

    Args:
        size: (height, width) of the images [pixels].
    """
    for split, count in (("train", num_train), ("val", num_val)):
        shapes = Shapes(split, num_train=num_train, num_val=num_val, size=size, seed=seed)
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            sample = shapes.load(index)
            Image.fromarray(sample.image).save(root / "images" / split / f"{index:03d}.jpg", quality=92)
            Image.fromarray(sample.mask).save(root / "masks" / split / f"{index:03d}.png")
    return list(shapes.classes.names)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Draw an example dataset into a folder.")
    parser.add_argument("root", type=Path)
    parser.add_argument("--train", type=int, default=240, help="images of the train split; default: 240")
    parser.add_argument("--val", type=int, default=40, help="images of the val split; default: 40")
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), metavar=("HEIGHT", "WIDTH"), help="[pixels]")
    options = parser.parse_args()
    names = write_folder(options.root, options.train, options.val, tuple(options.size))
    print(f"{options.root}: {options.train} train and {options.val} val images; classes [{','.join(names)}]")
