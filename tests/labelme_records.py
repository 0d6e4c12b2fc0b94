"""Small images with labelme's JSON files."""

import json

import numpy as np
from PIL import Image

from segnet.data.datasets.labelme import LabelMe

HEIGHT, WIDTH = 20, 30


def shape(label: str, points: list, kind: str = "polygon", **more) -> dict:
    return {"label": label, "points": points, "group_id": None, "shape_type": kind, "flags": {}} | more


def write(folder, name: str, *shapes: dict, **more) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{name}.jpg")
    record = {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{name}.jpg",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    (folder / f"{name}.json").write_text(json.dumps(record | more))


def mask_of(root, *shapes: dict, names: tuple[str, ...] = ("background", "cat", "dog"), **options) -> np.ndarray:
    write(root / "train", "a", *shapes)
    return LabelMe("train", str(root), list(names), **options).load(0).mask


def square(left: int, top: int, right: int, bottom: int) -> list[list[float]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
