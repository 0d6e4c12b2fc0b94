"""Recognize published layouts, so that errors of the folder reader suggest the matching reader."""

import codecs
from collections.abc import Iterator, Sequence
from pathlib import Path

from segnet.data.datasets.splits import SPLIT_OF_NAME
from segnet.images.formats import IMAGE_SUFFIXES
from segnet.system.files import is_hidden

# Reader -> glob patterns that must all match in the root of its layout, in the order of recognition.
LAYOUTS = (
    ("cityscapes", ("leftImg8bit", "gtFine")),
    ("cvat", ("labelmap.txt", "SegmentationClass")),
    ("cvat", ("annotations.xml",)),
    ("voc", ("JPEGImages", "SegmentationClass")),
    ("camvid", ("train", "trainannot")),
    ("camvid_original", ("701_StillsRaw_full", "LabeledApproved_full")),
    ("camvid_original", ("train", "train_labels/*_L.png")),
    ("ade20k", ("images/training", "annotations/training")),
    ("ade20k", ("ADEChallengeData2016",)),
    ("coco_stuff", ("stuffthingmaps",)),
    ("roboflow", ("train/_annotations.coco.json",)),
    ("roboflow", ("train/_classes.csv",)),
    ("coco_panoptic", ("annotations/panoptic_*.json",)),
    ("coco_instances", ("annotations/instances_*.json",)),
    ("yolo", ("data.yaml",)),
    ("yolo", ("images", "labels/**/*.txt")),
    ("supervisely", ("meta.json", "*/ann")),
    ("streaming", ("train-*.tar",)),
)
MOST_FOLDERS = 6


def layout_hint(root: Path, options: str) -> str:
    """Suggest the reader of a folder with another layout, or list its folders.

    Args:
        root: the folder of dataset.root.
        options: the options that name folders, such as "dataset.images and dataset.masks".

    Returns:
        The end of an error message, beginning with "; "; empty: `root` holds no folders.
    """
    for reader, patterns in LAYOUTS:
        if all(next(root.glob(pattern), None) is not None for pattern in patterns):
            return f"; {root} has the layout that dataset={reader} reads"
    if next(_annotated_images(root), None) is not None:
        return f"; {root} has JSON files beside images: dataset=labelme reads labelme's"
    if any(map(_holds_list, root.glob("*.json"))):
        return f"; {root} has a JSON file of tasks: dataset=label_studio reads Label Studio's"
    names = _visible_folders(root)
    if not names:
        lies_here = any(path.suffix.lower() in IMAGE_SUFFIXES for path in root.iterdir())
        both = "dataset.images=. dataset.masks=. dataset.mask_suffix=_mask"
        return f"; {root} holds images itself: if a.png has the mask a_mask.png, set {both}" if lies_here else ""
    divided = [name for name in names if name.lower() in SPLIT_OF_NAME]
    if len({SPLIT_OF_NAME[name.lower()] for name in divided}) > 1:
        if inner := _visible_folders(root / divided[0]):
            return f"; {root / divided[0]} has the folders {_first_names(inner)}: name them with {options}"
        sorted_as = "images/train, masks/train, images/val and masks/val"
        return f"; {root} has the folders {_first_names(names)}: sort the files into {sorted_as}"
    return f"; {root} has the folders {_first_names(names)}: name them with {options}"


def _visible_folders(root: Path) -> list[str]:
    """The names of the visible folders in a folder, sorted."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_hidden(path.name))


def _first_names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_FOLDERS:,} more" if len(names) > MOST_FOLDERS else ""
    return f"{', '.join(names[:MOST_FOLDERS])}{more}"


def _annotated_images(root: Path) -> Iterator[Path]:
    """Return the images with a JSON file of the same name, in a root or its train folder."""
    for folder in (root, root / "train"):
        for path in folder.glob("*.json"):
            if any(path.with_suffix(suffix).is_file() for suffix in IMAGE_SUFFIXES):
                yield path


def _holds_list(path: Path) -> bool:
    """Whether a JSON file holds a list, as exports of Label Studio do, and those of COCO's format do not."""
    try:
        with open(path, "rb") as file:
            return file.read(64).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
    except OSError:
        return False
