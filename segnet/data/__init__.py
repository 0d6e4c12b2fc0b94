"""Datasets, by the name that a configuration gives them; see `segnet.data.dataset` for the contract."""

from collections.abc import Callable

from segnet.data.ade20k import ADE20K
from segnet.data.camvid import CamVid
from segnet.data.camvid_original import CamVidOriginal
from segnet.data.cityscapes import Cityscapes
from segnet.data.coco_instances import COCOInstances
from segnet.data.coco_panoptic import COCOPanoptic
from segnet.data.coco_stuff import COCOStuff
from segnet.data.cvat import CVAT
from segnet.data.dataset import SegmentationDataset
from segnet.data.folder import Folder
from segnet.data.geotiff import GeoTIFF
from segnet.data.label_studio import LabelStudio
from segnet.data.labelme import LabelMe
from segnet.data.shapes import Shapes
from segnet.data.streaming import Streaming
from segnet.data.voc import PascalVOC

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
    "geotiff": GeoTIFF,
    "label_studio": LabelStudio,
    "labelme": LabelMe,
    "shapes": Shapes,
    "streaming": Streaming,
    "voc": PascalVOC,
}
