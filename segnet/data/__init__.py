"""Datasets, by the name that a configuration gives them; see `segnet.data.dataset` for the contract."""

from collections.abc import Callable

from segnet.data.camvid import CamVid
from segnet.data.dataset import SegmentationDataset
from segnet.data.folder import Folder
from segnet.data.shapes import Shapes

DATASETS: dict[str, Callable[..., SegmentationDataset]] = {
    "camvid": CamVid,
    "folder": Folder,
    "shapes": Shapes,
}
