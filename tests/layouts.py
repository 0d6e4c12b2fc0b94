"""Small datasets in the layout of each reader: the same images, in each a rectangle of class cat on background.

Images differ in their names alone where a test gives none of its own. `Text` says how the files around them are
written: their encoding, their line ends, and how they spell the names of images.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 16, 24
TOP, LEFT, BOTTOM, RIGHT = 4, 5, 12, 15  # of the cat, in pixels; exclusive at bottom and right
SPLITS = ("train", "val")


def cat() -> np.ndarray:
    """The mask: 0 background, 1 cat."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[TOP:BOTTOM, LEFT:RIGHT] = 1
    return mask


@dataclass(frozen=True)
class Text:
    """How annotations and lists are written.

    Attributes:
        encode: text -> bytes.
        spell: (folder of the image, its path below) -> its name in annotations and lists.
    """

    encode: Callable[[str], bytes] = str.encode
    spell: Callable[[Path, str], str] = lambda folder, name: name

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.encode(text))

    def dump(self, path: Path, value: Any) -> None:
        self.write(path, json.dumps(value, ensure_ascii=False))


Images = Mapping[str, np.ndarray]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _corners(tight: bool = False) -> list[list[float]]:
    """The corners of the cat; tight: drawn with their outline, as labelme does."""
    right, bottom = (RIGHT - 1, BOTTOM - 1) if tight else (RIGHT, BOTTOM)
    return [[LEFT, TOP], [right, TOP], [right, bottom], [LEFT, bottom]]


def coco_instances(root: Path, images: Images, text: Text) -> dict[str, Any]:
    flat = [float(number) for point in _corners() for number in point]
    for split in SPLITS:
        folder = root / f"{split}2017"
        record: dict[str, Any] = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
        for number, (name, pixels) in enumerate(images.items()):
            save(folder / name, pixels)
            entry = {"id": number, "file_name": text.spell(folder, name), "height": HEIGHT, "width": WIDTH}
            record["images"].append(entry)
            annotation = {"id": number, "image_id": number, "category_id": 1, "segmentation": [flat], "iscrowd": 0}
            record["annotations"].append(annotation)
        text.dump(root / "annotations" / f"instances_{split}2017.json", record)
    return {"name": "coco_instances"}


def coco_panoptic(root: Path, images: Images, text: Text) -> dict[str, Any]:
    categories = [{"id": 3, "name": "background"}, {"id": 8, "name": "cat"}]
    segments = [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 8}]
    for split in SPLITS:
        folder, masks = root / f"{split}2017", root / "annotations" / f"panoptic_{split}2017"
        record: dict[str, Any] = {"images": [], "annotations": [], "categories": categories}
        for number, (name, pixels) in enumerate(images.items()):
            save(folder / name, pixels)
            ids = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            ids[..., 0] = 1 + cat()
            mask = Path(name).with_suffix(".png").as_posix()
            save(masks / mask, ids)
            record["images"].append({"id": number, "file_name": text.spell(folder, name)})
            written = text.spell(masks, mask)
            record["annotations"].append({"image_id": number, "file_name": written, "segments_info": segments})
        text.dump(root / "annotations" / f"panoptic_{split}2017.json", record)
    return {"name": "coco_panoptic"}


def labelme(root: Path, images: Images, text: Text) -> dict[str, Any]:
    for split in SPLITS:
        for name, pixels in images.items():
            path = root / split / name
            save(path, pixels)
            shape = {"label": "cat", "points": _corners(tight=True), "shape_type": "polygon"}
            record = {"imagePath": text.spell(path.parent, path.name), "shapes": [shape]}
            text.dump(path.with_suffix(".json"), record | {"imageHeight": HEIGHT, "imageWidth": WIDTH})
    return {"name": "labelme", "class_names": ["background", "cat"]}


def label_studio(root: Path, images: Images, text: Text) -> dict[str, Any]:
    tasks = []
    for split in SPLITS:
        for name, pixels in images.items():
            number = len(tasks) + 1
            save(root / "images" / split / name, pixels)
            save(root / "masks" / f"task-{number}-annotation-{number}-by-1-tag-cat-0.png", 255 * cat())
            result = {"type": "brushlabels", "value": {"brushlabels": ["cat"]}}
            annotation = {"id": number, "result": [result]}
            place = text.spell(root / "images", f"{split}/{name}")
            tasks.append({"id": number, "data": {"image": place}, "annotations": [annotation]})
    text.dump(root / "export.json", tasks)
    return {"name": "label_studio", "class_names": ["background", "cat"]}


def cvat(root: Path, images: Images, text: Text) -> dict[str, Any]:
    text.write(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:200,10,10::\n")
    colors = np.array([[0, 0, 0], [200, 10, 10]], np.uint8)[cat()]
    for split in SPLITS:
        lines = []
        for name, pixels in images.items():
            save(root / "JPEGImages" / split / name, pixels)
            save(root / "SegmentationClass" / split / Path(name).with_suffix(".png"), colors)
            lines.append(text.spell(root / "JPEGImages", f"{split}/{Path(name).with_suffix('').as_posix()}"))
        text.write(root / "ImageSets" / "Segmentation" / f"{split}.txt", "\n".join(lines) + "\n")
    return {"name": "cvat"}


def yolo(root: Path, images: Images, text: Text) -> dict[str, Any]:
    line = "0 " + " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in _corners())
    for split in SPLITS:
        folder = root / "images" / split
        for name, pixels in images.items():
            save(folder / name, pixels)
            text.write((root / "labels" / split / name).with_suffix(".txt"), f"{line}\n")
        lines = [text.spell(root, f"images/{split}/{name}") for name in images]
        text.write(root / f"{split}.txt", "\n".join(lines) + "\n")
    text.write(root / "data.yaml", "train: train.txt\nval: val.txt\nnames: {0: cat}\n")
    return {"name": "yolo"}


def roboflow(root: Path, images: Images, text: Text) -> dict[str, Any]:
    """The export "Semantic Segmentation Masks"; the other two are those of `coco_instances` and `yolo`."""
    for folder in ("train", "valid"):
        for name, pixels in images.items():
            save(root / folder / name, pixels)
            path = root / folder / name
            save(path.with_name(f"{path.stem}_mask.png"), cat())
        text.write(root / folder / "_classes.csv", "Pixel Value, Class\n0, background\n1, cat\n")
    return {"name": "roboflow"}


def supervisely(root: Path, images: Images, text: Text) -> dict[str, Any]:
    text.dump(root / "meta.json", {"classes": [{"title": "cat", "shape": "polygon", "color": "#C80A0A"}]})
    for split in SPLITS:
        for name, pixels in images.items():
            save(root / split / "img" / name, pixels)
            points = {"exterior": _corners(tight=True), "interior": []}
            entry = {"classTitle": "cat", "geometryType": "polygon", "points": points}
            record = {"size": {"height": HEIGHT, "width": WIDTH}, "objects": [entry], "tags": []}
            text.dump(root / split / "ann" / f"{name}.json", record)
    return {"name": "supervisely"}


def folder(root: Path, images: Images, text: Text) -> dict[str, Any]:
    for split in SPLITS:
        lines = []
        for name, pixels in images.items():
            save(root / "images" / split / name, pixels)
            save(root / "masks" / split / Path(name).with_suffix(".png"), cat())
            lines.append(text.spell(root, f"images/{split}/{name}"))
        text.write(root / f"{split}.txt", "\n".join(lines) + "\n")
    lists = {"train_list": "train.txt", "val_list": "val.txt"}
    return {"name": "folder", "class_names": ["background", "cat"], **lists}


Write = Callable[[Path, Images, Text], dict[str, Any]]
LAYOUTS: dict[str, Write] = {
    function.__name__: function
    for function in (
        *(coco_instances, coco_panoptic, labelme, label_studio, cvat, yolo, roboflow, supervisely, folder),
    )
}


def write(name: str, root: Path, images: Images, text: Text | None = None) -> dict[str, Any]:
    """Write a dataset in the layout of a reader, and give its spec."""
    return LAYOUTS[name](root, images, text or Text()) | {"root": str(root)}
