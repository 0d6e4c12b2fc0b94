"""Published ImageNet weights that fit segnet's backbones, with their normalization, accuracy and license.

Sources: the model cards of timm on the hub (top-1 at the size of the test images), PaddleClas's list of models and
PaddleSeg's configurations. Where no published figure was found, there is none.
"""

import re
from dataclasses import dataclass

APACHE, BSD, NON_COMMERCIAL = "Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0"
CLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
SEG = "https://bj.bcebos.com/paddleseg/dygraph/"
# Tags of timm and names of files whose authors allow non-commercial use only.
NON_COMMERCIAL_NAMES = re.compile(
    r"fb_s?wsl_|fb_ssl_|[._]s?wsl_|[._]ssl_|yfcc100m|ig1b|ig_resnext|semi_(weakly_)?supervised|fcmae|\.mae"
)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """A set of weights.

    Attributes:
        backbone: choice of `backbone=` that takes them.
        source: for `backbone_weights=`.
        publisher: the project.
        license: SPDX identifier.
        normalization: "ImageNet" (mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225) or "0.5" (mean and std 0.5).
        top1: accuracy on ImageNet's validation images [%]; None where it is not published.
        size: side of the images of `top1` [pixels].
    """

    backbone: str
    source: str
    publisher: str
    license: str = APACHE
    normalization: str = "ImageNet"
    top1: float | None = None
    size: int = 224


PUBLISHED_WEIGHTS = (
    PublishedWeights("resnet18", "timm/resnet18.a1_in1k", "timm", top1=73.16, size=288),
    PublishedWeights("resnet18", "timm/resnet18.tv_in1k", "torchvision by way of timm", BSD),
    PublishedWeights("resnet34", "timm/resnet34.ra4_e3600_r224_in1k", "timm", normalization="0.5"),
    PublishedWeights("resnet34", "timm/resnet34.tv_in1k", "torchvision by way of timm", BSD),
    PublishedWeights("resnet50", "timm/resnet50.a1_in1k", "timm", top1=81.22, size=288),
    PublishedWeights("resnet50", "timm/resnet50.tv2_in1k", "torchvision by way of timm", BSD, top1=80.85),
    PublishedWeights("resnet101", "timm/resnet101.tv2_in1k", "torchvision by way of timm", BSD, top1=79.9, size=176),
    PublishedWeights("resnet152", "timm/resnet152.tv2_in1k", "torchvision by way of timm", BSD, top1=80.2, size=176),
    PublishedWeights("resnet50_v1c", "timm/resnet50c.gluon_in1k", "GluonCV by way of timm", top1=78.0),
    PublishedWeights("resnet101_v1c", "timm/resnet101c.gluon_in1k", "GluonCV by way of timm", top1=79.53),
    PublishedWeights("resnet152_v1c", "timm/resnet152c.gluon_in1k", "GluonCV by way of timm", top1=79.92),
    PublishedWeights("resnet18_vd", "timm/resnet18d.ra4_e3600_r224_in1k", "timm", normalization="0.5"),
    PublishedWeights("resnet34_vd", "timm/resnet34d.ra2_in1k", "timm", top1=78.43, size=288),
    PublishedWeights(
        "resnet34_vd", f"{CLAS}legendary_models/ResNet34_vd_ssld_pretrained.pdparams", "PaddleClas", top1=79.7
    ),
    PublishedWeights("resnet50_vd", "timm/resnet50d.ra2_in1k", "timm", top1=81.37, size=288),
    PublishedWeights(
        "resnet50_vd", f"{CLAS}legendary_models/ResNet50_vd_ssld_pretrained.pdparams", "PaddleClas", top1=83.0
    ),
    PublishedWeights("resnet50_vd", f"{SEG}resnet50_vd_ssld_v2.tar.gz", "PaddleSeg", normalization="0.5"),
    PublishedWeights("resnet101_vd", f"{SEG}resnet101_vd_ssld.tar.gz", "PaddleSeg", normalization="0.5"),
    PublishedWeights(
        "resnet101_vd", f"{CLAS}legendary_models/ResNet101_vd_ssld_pretrained.pdparams", "PaddleClas", top1=83.7
    ),
    PublishedWeights(
        "resnet200_vd", f"{CLAS}legendary_models/ResNet200_vd_pretrained.pdparams", "PaddleClas", top1=80.9
    ),
    PublishedWeights("resnext50_32x4d", "timm/resnext50_32x4d.tv2_in1k", "torchvision by way of timm", BSD, top1=81.17),
    PublishedWeights("resnext50_vd_32x4d", "timm/resnext50d_32x4d.bt_in1k", "timm", top1=80.67, size=288),
    PublishedWeights("resnext101_vd_32x4d", f"{CLAS}ResNeXt101_vd_32x4d_pretrained.pdparams", "PaddleClas", top1=80.33),
)


def license_of(source: str) -> str | None:
    """The license of weights by their name: an SPDX identifier, or None where it is not known here."""
    for entry in PUBLISHED_WEIGHTS:
        if entry.source == source:
            return entry.license
    return NON_COMMERCIAL if NON_COMMERCIAL_NAMES.search(source) else None


def license_line(source: str) -> str:
    """What is logged about the license of weights that were fetched."""
    license = license_of(source)
    if license == NON_COMMERCIAL:
        return f"{source}: license {license}, non-commercial use only"
    if license is not None:
        return f"{source}: license {license}"
    page = f"https://huggingface.co/{source}" if "://" not in source else "the page of its project"
    return f"{source}: its license is not known here, see {page}"
