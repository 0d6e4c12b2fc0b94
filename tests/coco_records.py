"""Instance files of COCO with one small image."""

import itertools
import json

import numpy as np
from PIL import Image

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}, {"id": 90, "name": "toothbrush"}]
HEIGHT, WIDTH = 20, 30


def box(x: int, y: int, width: int, height: int) -> list[list[int]]:
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def runs(mask: np.ndarray) -> dict:
    """Encode uncompressed run lengths: column by column, starting with zeros."""
    counts = [(bit, len(list(run))) for bit, run in itertools.groupby(mask.T.ravel().tolist())]
    counts = ([0] if counts[0][0] else []) + [count for _, count in counts]
    return {"counts": counts, "size": list(mask.shape)}


def annotation(category: int, segmentation, crowd: int = 0, image: int = 5) -> dict:
    return {"id": 77, "image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}


def write(root, annotations: list[dict], categories: list[dict] = CATEGORIES, **image) -> None:
    (root / "annotations").mkdir(exist_ok=True)
    (root / "train2017").mkdir(exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train2017" / "5.jpg")
    images = [{"id": 5, "file_name": "5.jpg", "height": HEIGHT, "width": WIDTH} | image]
    record = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(record))
