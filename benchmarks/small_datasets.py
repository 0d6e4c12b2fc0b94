"""Write a small dataset in the layout of a reader: three train and two val images of 40 x 32 pixels.

    write("yolo", Path("data"))  # returns the dataset's spec

Tests of all readers and `fuzz_files.py` use it.
"""

import base64
import csv
import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from small_images import FILES, HEIGHT, WIDTH, corners, object_mask, pairs, pixels_of, save, save_text

NAMES = ["background", "cat"]

Spec = dict[str, Any]


def ade20k(root: Path) -> Spec:
    for split, folder in (("train", "training"), ("val", "validation")):
        for name in FILES[split]:
            save(root / "images" / folder / f"{name}.jpg", pixels_of(name))
            save(root / "annotations" / folder / f"{name}.png", object_mask(3, 1))
    return {}


def camvid(root: Path) -> Spec:
    pairs(root, "{split}/{name}.png", "{split}annot/{name}.png")
    for split, names in FILES.items():
        lines = [f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png\n" for name in names]
        save_text(root / f"{split}.txt", "".join(lines))
    return {}


def camvid_original(root: Path) -> Spec:
    colored = np.where(
        object_mask()[..., None] == 1, np.array([64, 0, 128], np.uint8), np.array([128, 64, 128], np.uint8)
    )
    for split, names in FILES.items():
        for name in names:
            save(root / split / f"{name}.png", pixels_of(name))
            save(root / f"{split}_labels" / f"{name}_L.png", colored)
    return {}


def cityscapes(root: Path) -> Spec:
    pairs(root, "leftImg8bit/{split}/x/{name}_leftImg8bit.png", "gtFine/{split}/x/{name}_gtFine_labelIds.png", 26, 7)
    return {}


def coco_record(names: tuple[str, ...], suffix: str = "jpg") -> dict[str, Any]:
    """Return an instance file: a polygon for every image, run lengths for the first."""
    polygon = [value for corner in corners() for value in corner]
    runs = {"size": [HEIGHT, WIDTH], "counts": [50, 7, HEIGHT * WIDTH - 57]}
    common = {"area": 190, "iscrowd": 0, "bbox": [6, 5, 16, 12]}
    annotations = [
        {"id": number, "image_id": number, "category_id": 1, "segmentation": [polygon], **common}
        for number in range(1, len(names) + 1)
    ]
    crowd = {"id": 90, "image_id": 1, "category_id": 2, "segmentation": runs, **common, "iscrowd": 1}
    return {
        "images": [
            {"id": number, "file_name": f"{name}.{suffix}", "height": HEIGHT, "width": WIDTH}
            for number, name in enumerate(names, 1)
        ],
        "annotations": [*annotations, crowd],
        "categories": [{"id": 1, "name": "cat", "supercategory": "pet"}, {"id": 2, "name": "dog"}],
    }


def coco_instances(root: Path) -> Spec:
    for split, names in FILES.items():
        for name in names:
            save(root / f"{split}2017" / f"{name}.jpg", pixels_of(name))
        save_text(root / f"annotations/instances_{split}2017.json", coco_record(names))
    return {}


def coco_panoptic(root: Path) -> Spec:
    segments = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    segments[..., 0] = object_mask(7, 9)
    for split, names in FILES.items():
        for name in names:
            save(root / f"{split}2017" / f"{name}.jpg", pixels_of(name))
            save(root / "annotations" / f"panoptic_{split}2017" / f"{name}.png", segments)
        info = [{"id": number, "category_id": category, "iscrowd": 0} for number, category in ((7, 1), (9, 2))]
        record = {
            "images": coco_record(names)["images"],
            "annotations": [
                {"image_id": number, "file_name": f"{name}.png", "segments_info": info}
                for number, name in enumerate(names, 1)
            ],
            "categories": [
                {"id": 1, "name": "cat", "isthing": 1, "color": [1, 2, 3]},
                {"id": 2, "name": "grass", "isthing": 0, "color": [3, 2, 1]},
            ],
        }
        save_text(root / f"annotations/panoptic_{split}2017.json", record)
    return {}


def coco_stuff(root: Path) -> Spec:
    pairs(root, "{split}2017/{name}.jpg", "stuffthingmaps/{split}2017/{name}.png")
    return {}


def cvat(root: Path) -> Spec:
    save_text(root / "labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:9,8,7::\n")
    for split, names in FILES.items():
        for name in names:
            save(root / "JPEGImages" / f"{name}.jpg", pixels_of(name))
            save(root / "SegmentationClass" / f"{name}.png", object_mask()[..., None] * np.array([9, 8, 7], np.uint8))
        save_text(root / f"ImageSets/Segmentation/{split}.txt", "".join(f"{name}\n" for name in names))
    return {}


def folder(root: Path) -> Spec:
    pairs(root, "images/{split}/{name}.png", "masks/{split}/{name}.png")
    return {"class_names": NAMES}


def geotiff(root: Path) -> Spec:
    import rasterio

    for split, names in FILES.items():
        for name in names:
            for kind, bands in (("images", pixels_of(name)), ("masks", object_mask()[..., None])):
                path = root / kind / split / f"{name}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                size = {"height": HEIGHT, "width": WIDTH, "count": bands.shape[2], "dtype": "uint8"}
                place = {"crs": "EPSG:32633", "transform": rasterio.Affine(1, 0, 4e5, 0, -1, 5e6)}
                with rasterio.open(path, "w", driver="GTiff", **size, **place) as scene:
                    scene.write(bands.transpose(2, 0, 1))
    return {"class_names": NAMES, "window": [32, 24]}


def label_studio(root: Path) -> Spec:
    tasks = []
    for number, name in enumerate([*FILES["train"], *FILES["val"]], 1):
        save(root / "images" / f"{name}.jpg", pixels_of(name))
        save(root / "masks" / f"task-{number}-annotation-{number}-by-1-tag-cat-0.png", object_mask(255))
        annotation = {"id": number, "was_cancelled": False, "result": [{"type": "brushlabels"}]}
        image = f"/data/local-files/?d=images/{name}.jpg"
        tasks.append({"id": number, "data": {"image": image}, "annotations": [annotation]})
    save_text(root / "export.json", tasks)
    return {"class_names": NAMES, "val_fraction": 0.4}


def labelme(root: Path) -> Spec:
    for split, names in FILES.items():
        for name in names:
            save(root / split / f"{name}.jpg", pixels_of(name))
            shape: Spec = {"label": "cat", "points": corners(), "shape_type": "polygon", "flags": {}, "group_id": None}
            record: Spec = {
                "version": "5.5.0",
                "flags": {},
                "shapes": [shape],
                "imagePath": f"{name}.jpg",
                "imageData": None,
            }
            save_text(root / split / f"{name}.json", {**record, "imageHeight": HEIGHT, "imageWidth": WIDTH})
    return {"class_names": NAMES}


FOLDERS = (("train", "train"), ("val", "valid"))  # Roboflow's


def roboflow_coco(root: Path) -> Spec:
    for split, place in FOLDERS:
        for name in FILES[split]:
            save(root / place / f"{name}.jpg", pixels_of(name))
        save_text(root / place / "_annotations.coco.json", coco_record(FILES[split]))
    return {"name": "roboflow"}


def roboflow_masks(root: Path) -> Spec:
    for split, place in FOLDERS:
        for name in FILES[split]:
            save(root / place / f"{name}.jpg", pixels_of(name))
            save(root / place / f"{name}_mask.png", object_mask())
        table = io.StringIO()
        csv.writer(table).writerows([["Pixel Value", " Class"], [0, " background"], [1, " cat"]])
        save_text(root / place / "_classes.csv", table.getvalue())
    return {"name": "roboflow"}


def yolo_labels(root: Path, image: str, label: str) -> None:
    """Write images and polygons; their paths are templates."""
    outline = " ".join(f"{x / WIDTH:.4f} {y / HEIGHT:.4f}" for x, y in corners())
    for split, place in FOLDERS:
        for name in FILES[split]:
            save(root / image.format(split=split, folder=place, name=name), pixels_of(name))
            save_text(root / label.format(split=split, folder=place, name=name), f"0 {outline}\n1 {outline}\n")


def roboflow_yolo(root: Path) -> Spec:
    yolo_labels(root, "{folder}/images/{name}.jpg", "{folder}/labels/{name}.txt")
    places = {"train": "../train/images", "val": "../valid/images"}
    save_text(root / "data.yaml", yaml.safe_dump({**places, "nc": 2, "names": ["cat", "dog"]}))
    return {"name": "roboflow"}


def yolo(root: Path) -> Spec:
    yolo_labels(root, "images/{split}/{name}.jpg", "labels/{split}/{name}.txt")
    places = {"path": ".", "train": "images/train", "val": "images/val"}
    save_text(root / "data.yaml", yaml.safe_dump({**places, "names": {0: "cat", 1: "dog"}}))
    return {}


def streaming(root: Path) -> Spec:
    from segnet.verb_config import ShardConfig
    from segnet.workflows.shard import write_shards

    spec = {"name": "folder", "root": str(root / "source"), **folder(root / "source")}
    write_shards(ShardConfig(dataset=spec, output=str(root / "shards"), images_per_shard=2))
    return {"root": str(root / "shards")}


def supervisely(root: Path) -> Spec:
    classes = [
        {"title": name, "color": color, "shape": "any"} for name, color in (("cat", "#010203"), ("dog", "#040506"))
    ]
    save_text(root / "meta.json", {"classes": classes, "tags": []})
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 4), 255, np.uint8)).save(buffer, "PNG")
    bitmap = {"data": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "origin": [25, 20]}
    outline = {"exterior": corners(), "interior": [[[8, 7], [12, 7], [12, 10]]]}
    objects = [
        {"id": 4, "classTitle": "cat", "geometryType": "polygon", "points": outline},
        {"id": 5, "classTitle": "dog", "geometryType": "bitmap", "bitmap": bitmap},
    ]
    for split, names in FILES.items():
        for name in names:
            save(root / split / "img" / f"{name}.jpg", pixels_of(name))
            record = {"tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects}
            save_text(root / split / "ann" / f"{name}.jpg.json", record)
    return {}


def voc(root: Path) -> Spec:
    for split, names in FILES.items():
        for name in names:
            save(root / "JPEGImages" / f"{name}.jpg", pixels_of(name))
            save(root / "SegmentationClass" / f"{name}.png", object_mask(8))
        save_text(root / f"ImageSets/Segmentation/{split}.txt", "".join(f"{name}\n" for name in names))
    return {}


# Layout -> writer, and the package that the reader needs.
LAYOUTS: dict[str, tuple[Callable[[Path], Spec], str]] = {
    "ade20k": (ade20k, ""),
    "camvid": (camvid, ""),
    "camvid_original": (camvid_original, ""),
    "cityscapes": (cityscapes, ""),
    "coco_instances": (coco_instances, "pycocotools"),
    "coco_panoptic": (coco_panoptic, ""),
    "coco_stuff": (coco_stuff, ""),
    "cvat": (cvat, ""),
    "folder": (folder, ""),
    "geotiff": (geotiff, "rasterio"),
    "label_studio": (label_studio, ""),
    "labelme": (labelme, ""),
    "roboflow_coco": (roboflow_coco, "pycocotools"),
    "roboflow_masks": (roboflow_masks, ""),
    "roboflow_yolo": (roboflow_yolo, ""),
    "streaming": (streaming, "webdataset"),
    "supervisely": (supervisely, ""),
    "voc": (voc, ""),
    "yolo": (yolo, ""),
}


def write(layout: str, root: Path) -> Spec:
    """Write the dataset into `root`, and return its spec."""
    root.mkdir(parents=True, exist_ok=True)
    make, _ = LAYOUTS[layout]
    return {"name": layout, "root": str(root), **make(root)}
