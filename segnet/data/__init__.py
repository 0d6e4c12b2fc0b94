"""Datasets, by the name that a configuration gives them; see `segnet.data.dataset` for the contract."""

from collections.abc import Callable

from segnet.data.dataset import SegmentationDataset
from segnet.data.datasets.ade20k import ADE20K
from segnet.data.datasets.camvid import CamVid
from segnet.data.datasets.camvid_original import CamVidOriginal
from segnet.data.datasets.cityscapes import Cityscapes
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.data.datasets.coco_panoptic import COCOPanoptic
from segnet.data.datasets.coco_stuff import COCOStuff
from segnet.data.datasets.cvat import CVAT
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.geotiff import geotiff
from segnet.data.datasets.label_studio import LabelStudio
from segnet.data.datasets.labelme import LabelMe
from segnet.data.datasets.shapes import Shapes
from segnet.data.datasets.streaming import Streaming
from segnet.data.datasets.voc import PascalVOC

DATASETS: dict[str, Callable[..., SegmentationDataset]] = {
    "ade20k": ADE20K,
    "camvid": CamVid,
    "camvid_original": CamVidOriginal,
    "cityscapes": Cityscapes,
    "coco_instances": COCOInstances,
    "coco_panoptic": COCOPanoptic,
    "coco_stuff": COCOStuff,
    "cvat": CVAT,
    "folder": Folder,
    "geotiff": geotiff,
    "label_studio": LabelStudio,
    "labelme": LabelMe,
    "shapes": Shapes,
    "streaming": Streaming,
    "voc": PascalVOC,
}
