"""Published segmentation models that segnet converts: PaddleSeg's and mmsegmentation's DeepLabV3 and DeepLabV3+.

Sources: names, URLs and mIoU (one scale, no flip) from PaddleSeg's configs/deeplabv3p/README.md and
configs/deeplabv3/README.md, and from mmsegmentation's model indexes and READMEs in its configs/deeplabv3plus and
configs/deeplabv3. Of several training schedules the longest is listed. Both projects have the license Apache-2.0.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from segnet.components import nearest
from segnet.errors import CheckpointError

PADDLE = "https://bj.bcebos.com/paddleseg/dygraph/"
MMSEG = "https://download.openmmlab.com/mmsegmentation/v0.5/"
MODEL_NAME = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A published segmentation model.

    Attributes:
        name: value of `--checkpoint`.
        url: URL of the file to convert. mmsegmentation's file names end with the first digits of their SHA-256.
        publisher: project that trained the model.
        decoder: DeepLabV3 or DeepLabV3+.
        classes: class set, a key of `segnet.class_sets.CLASS_SETS`.
        miou: val mIoU at one scale, without flip [%].
        parameters: number of parameters, without auxiliary head [millions].
        align_corners: setting of all bilinear resizing; PaddleSeg's files do not contain it.
    """

    name: str
    url: str
    publisher: str
    decoder: str
    classes: str
    miou: float
    parameters: float
    align_corners: bool
    license: str = "Apache-2.0"


# Name in segnet, name of the published file, val mIoU [%], parameters [millions].
_PADDLE_MODELS = """
    cityscapes_resnet50_vd deeplabv3p_resnet50_os8_cityscapes_1024x512_80k 80.36 26.71
    cityscapes_resnet50_vd_rmi deeplabv3p_resnet50_os8_cityscapes_1024x512_80k_rmiloss 81.18 26.71
    cityscapes_resnet101_vd deeplabv3p_resnet101_os8_cityscapes_1024x512_80k 81.10 45.71
    cityscapes_resnet101_vd_769 deeplabv3p_resnet101_os8_cityscapes_769x769_80k 81.53 45.71
    cityscapes_deeplabv3_resnet50_vd deeplabv3_resnet50_os8_cityscapes_1024x512_80k 79.90 39.07
    cityscapes_deeplabv3_resnet101_vd deeplabv3_resnet101_os8_cityscapes_1024x512_80k 80.85 58.06
    voc12aug_resnet50_vd deeplabv3p_resnet50_os8_voc12aug_512x512_40k 80.66 26.72
    voc12aug_resnet101_vd deeplabv3p_resnet101_os8_voc12aug_512x512_40k 80.60 45.71
    voc12aug_deeplabv3_resnet50_vd deeplabv3_resnet50_os8_voc12aug_512x512_40k 79.76 39.07
    voc12aug_deeplabv3_resnet101_vd deeplabv3_resnet101_os8_voc12aug_512x512_40k 80.62 58.06
"""
_MMSEG_MODELS = """
    cityscapes_resnet18_v1c deeplabv3plus_r18-d8_512x1024_80k_cityscapes_20201226_080942-cff257fe 76.89 12.32
    cityscapes_resnet50_v1c deeplabv3plus_r50-d8_512x1024_80k_cityscapes_20200606_114049-f9fb496d 80.09 41.23
    cityscapes_resnet101_v1c deeplabv3plus_r101-d8_512x1024_80k_cityscapes_20200606_114143-068fcfe9 80.97 60.22
    cityscapes_deeplabv3_resnet50_v1c deeplabv3_r50-d8_512x1024_80k_cityscapes_20200606_113404-b92cfdd4 79.32 65.75
    cityscapes_deeplabv3_resnet101_v1c deeplabv3_r101-d8_512x1024_80k_cityscapes_20200606_113503-9e428899 80.20 84.74
    ade20k_resnet50_v1c deeplabv3plus_r50-d8_512x512_160k_ade20k_20200615_124504-6135c7e0 43.95 41.29
    ade20k_resnet101_v1c deeplabv3plus_r101-d8_512x512_160k_ade20k_20200615_123232-38ed86bb 45.47 60.28
    ade20k_deeplabv3_resnet50_v1c deeplabv3_r50-d8_512x512_160k_ade20k_20200615_123227-5d0ee427 42.66 65.82
    ade20k_deeplabv3_resnet101_v1c deeplabv3_r101-d8_512x512_160k_ade20k_20200615_105816-b1f72b3b 45.00 84.81
    voc12aug_resnet50_v1c deeplabv3plus_r50-d8_512x512_40k_voc12aug_20200613_161759-e1b43aa9 76.81 41.23
    voc12aug_resnet101_v1c deeplabv3plus_r101-d8_512x512_40k_voc12aug_20200613_205333-faf03387 78.62 60.22
    voc12aug_deeplabv3_resnet50_v1c deeplabv3_r50-d8_512x512_40k_voc12aug_20200613_161546-2ae96e7e 77.68 65.75
    voc12aug_deeplabv3_resnet101_v1c deeplabv3_r101-d8_512x512_40k_voc12aug_20200613_161432-0017d784 77.92 84.74
"""


def _read(table: str, publisher: str) -> Iterator[PublishedModel]:
    for line in table.split("\n")[1:-1]:
        name, file, miou, parameters = line.split()
        classes = name.partition("_")[0].removesuffix("12aug")
        if publisher == "PaddleSeg":
            url = f"{PADDLE}{'pascal_voc12' if classes == 'voc' else classes}/{file}/model.pdparams"
        else:
            experiment = re.sub(r"_\d{8}_\d{6}-[0-9a-f]{8}$", "", file)
            url = f"{MMSEG}{file.partition('_')[0]}/{experiment}/{file}.pth"
        yield PublishedModel(
            name=name,
            url=url,
            publisher=publisher,
            decoder="DeepLabV3" if file.startswith("deeplabv3_") else "DeepLabV3+",
            classes=classes,
            miou=float(miou),
            parameters=float(parameters),
            align_corners="769x769" in file,  # in both projects
        )


PUBLISHED_MODELS = (*_read(_PADDLE_MODELS, "PaddleSeg"), *_read(_MMSEG_MODELS, "mmsegmentation"))


def stands_for_model(text: str) -> bool:
    """Return True if a text is the name of a published model, and no file has this name."""
    return any(model.name == text for model in PUBLISHED_MODELS) and not os.path.exists(text)


def published_model(name: str) -> PublishedModel:
    """Return the published model with a name.

    Raises:
        CheckpointError: no model has this name; the message suggests the closest name.
    """
    for model in PUBLISHED_MODELS:
        if model.name == name:
            return model
    close = nearest(name, [model.name for model in PUBLISHED_MODELS])
    raise CheckpointError(
        f"{name}: no such file, and no published model has this name.{close} segnet models lists all names"
    )
