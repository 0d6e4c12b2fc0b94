"""Roboflow's exports for segmentation, as downloaded: "COCO Segmentation", "Semantic Segmentation Masks" or YOLO.

Source: docs.roboflow.com, "Export data". Layout: the folders ``train``, ``valid`` and ``test``. Their files show which
export it is: ``_annotations.coco.json`` beside the images; ``_classes.csv`` and ``*_mask.png`` beside the images; or
``data.yaml`` in the root, with ``images`` and ``labels`` in each folder.
"""

import csv
from collections.abc import Sequence
from pathlib import Path

from segnet.classes import Classes
from segnet.data.dataset import FileDataset, SegmentationDataset
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.data.datasets.file_names import normal_form
from segnet.data.datasets.labels import Labels
from segnet.data.datasets.pairing import pair_folders, require_folder, require_root, require_split
from segnet.data.datasets.splits import split_folder
from segnet.data.datasets.text_files import read_lines
from segnet.data.datasets.yolo import YOLO
from segnet.errors import ConfigError, DataError
from segnet.images.values import checked_value_range

COCO_FILE = "_annotations.coco.json"
CLASSES_FILE = "_classes.csv"
YOLO_FILE = "data.yaml"
MASK_SUFFIX = "_mask"


def roboflow(
    split: str, root: str, categories: Sequence[str] | None = None, value_range: Sequence[float] | None = None
) -> SegmentationDataset:
    """Roboflow's export in any of its three forms for segmentation.

    Args:
        split: "train", "val" or "test".
        root: folder of the unpacked export.
        categories: of the COCO export the names that become classes, in this order; None: all.
        value_range: [low, high], the stored values that become black and white; null: 0 and the largest of their type.

    Raises:
        ConfigError: an unknown split, or categories for an export that is not COCO's.
        DataError: a folder that is missing, or none of these exports.
        MachineError: pycocotools is not installed, which the COCO export needs.
    """
    require_split(split)
    top = require_root(root)
    train = split_folder(top, "*", "train")
    if (train / COCO_FILE).is_file():
        return COCOInstances(split, root, "{split}", f"{{split}}/{COCO_FILE}", categories, value_range)
    if categories is not None:
        raise ConfigError(f"dataset.categories is for COCO's export, but {train} has no {COCO_FILE}")
    if (train / CLASSES_FILE).is_file():
        folder = require_folder(split_folder(top, "*", split), f"the {split} images of dataset.root")
        return RoboflowMasks(folder, value_range)
    if (top / YOLO_FILE).is_file():
        return YOLO(split, root, value_range=value_range)
    raise DataError(
        f"{top}: has neither train/{COCO_FILE} nor train/{CLASSES_FILE} nor {YOLO_FILE}: export one of them"
    )


class RoboflowMasks(FileDataset):
    """Masks of class ids next to their images, with a table of the ids.

    Args:
        folder: of a split.
        value_range: see `roboflow`.

    Raises:
        DataError: files that do not pair, or a table that is none.
    """

    classes_from_files = True

    def __init__(self, folder: Path, value_range: Sequence[float] | None = None) -> None:
        self._table = folder / CLASSES_FILE
        name_of = read_class_table(self._table)
        classes = Classes.create(list(dict.fromkeys(name_of.values())))
        labels = Labels(classes, {value: classes.names.index(name) for value, name in name_of.items()})
        pairs = pair_folders(folder, folder, self.notes, mask_suffix=MASK_SUFFIX)
        super().__init__(pairs, classes, labels, value_range=checked_value_range(value_range))

    def files(self, index: int) -> Sequence[Path]:
        return (*super().files(index), self._table)


def read_class_table(path: Path) -> dict[int, str]:
    """Read the table: mask value -> class name, in the order of the values.

    Raises:
        DataError: a row that is not a value and a name, or a value given twice.
    """
    name_of: dict[int, str] = {}
    try:
        rows = list(csv.reader(read_lines(path, "a table of classes"), skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{path}: is not a table of classes ({error})") from None
    for row in rows:
        cells = [cell.strip() for cell in row]
        if cells[:1] == ["Pixel Value"]:
            continue
        if len(cells) != 2 or not cells[0].isascii() or not cells[0].isdecimal() or len(cells[0]) > 5 or not cells[1]:
            raise DataError(f"{path}: '{','.join(row)}' is not a pixel value and the name of its class")
        if int(cells[0]) in name_of:
            raise DataError(f"{path}: the pixel value {cells[0]} has two names")
        name_of[int(cells[0])] = normal_form(cells[1])
    if not name_of:
        raise DataError(f"{path}: names no class")
    return dict(sorted(name_of.items()))
