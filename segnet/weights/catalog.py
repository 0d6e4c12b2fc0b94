"""Published ImageNet weights that fit segnet's backbones, with their normalization, accuracy and license.

Sources: the model cards of timm on the hub (top-1 at the size of the test images), PaddleClas's list of models,
PaddleSeg's and mmsegmentation's configurations. Weights without a published figure have none here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from segnet.weights import zoo

APACHE, BSD, NON_COMMERCIAL = "Apache-2.0", "BSD-3-Clause", "CC-BY-NC-4.0"
CLAS = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/"
SEG = "https://bj.bcebos.com/paddleseg/dygraph/"
MMLAB = "https://download.openmmlab.com/pretrain/third_party/"
LAYERS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
    ("bottleneck", (3, 12, 48, 3)): 200,
}
VARIANTS = {("conv7x7", "conv"): "", ("deep", "conv"): "_v1c", ("deep", "pool"): "_vd"}  # by stem and shortcut
BATCH_NORMS = ("batch", "sync_batch")
# Parameters without the classifier [millions]; multiply-adds for an image of 224 x 224 at output stride 32 [billions].
BACKBONE_COSTS = {
    "resnet18": (11.18, 1.81),
    "resnet18_v1c": (11.20, 2.05),
    "resnet18_vd": (11.20, 2.07),
    "resnet34": (21.28, 3.66),
    "resnet34_v1c": (21.30, 3.90),
    "resnet34_vd": (21.31, 3.92),
    "resnet50": (23.51, 4.09),
    "resnet50_v1c": (23.53, 4.33),
    "resnet50_vd": (23.53, 4.33),
    "resnet101": (42.50, 7.80),
    "resnet101_v1c": (42.52, 8.04),
    "resnet101_vd": (42.52, 8.04),
    "resnet152": (58.14, 11.51),
    "resnet152_v1c": (58.16, 11.75),
    "resnet152_vd": (58.16, 11.75),
    "resnet200_vd": (72.69, 15.25),
    "resnext50_32x4d": (22.98, 4.23),
    "resnext50_vd_32x4d": (23.00, 4.47),
    "resnext101_32x8d": (86.74, 16.41),
    "resnext101_vd_32x4d": (42.15, 8.21),
}
# Patterns in timm tags and file names of weights for non-commercial use only.
NON_COMMERCIAL_NAMES = re.compile(
    r"fb_s?wsl_|fb_ssl_|[._]s?wsl_|[._]ssl_|yfcc100m|ig1b|ig_resnext|semi_(weakly_)?supervised|fcmae|\.mae"
)


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """Published weights of a backbone.

    Attributes:
        backbone: choice of `backbone=` that the weights fit.
        source: value of `backbone_weights=`.
        publisher: project that published the weights.
        license: SPDX identifier.
        normalization: "ImageNet" (mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225) or "0.5" (mean and std 0.5).
        top1: accuracy on ImageNet's validation images [%]; None: not published.
        size: side of the test images for `top1` [pixels].
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
    PublishedWeights("resnet18", "timm/resnet18.tv_in1k", "torchvision by way of timm", BSD, top1=69.76),
    PublishedWeights("resnet34", "timm/resnet34.a1_in1k", "timm", top1=77.92, size=288),
    PublishedWeights("resnet34", "timm/resnet34.ra4_e3600_r224_in1k", "timm", normalization="0.5"),
    PublishedWeights("resnet34", "timm/resnet34.tv_in1k", "torchvision by way of timm", BSD, top1=73.32),
    PublishedWeights("resnet50", "timm/resnet50.a1_in1k", "timm", top1=81.22, size=288),
    PublishedWeights("resnet50", "timm/resnet50.tv2_in1k", "torchvision by way of timm", BSD, top1=80.85),
    PublishedWeights("resnet101", "timm/resnet101.a1h_in1k", "timm", top1=82.8, size=288),
    PublishedWeights("resnet101", "timm/resnet101.tv2_in1k", "torchvision by way of timm", BSD, top1=81.9),
    PublishedWeights("resnet152", "timm/resnet152.a1h_in1k", "timm", top1=83.46, size=288),
    PublishedWeights("resnet152", "timm/resnet152.tv2_in1k", "torchvision by way of timm", BSD, top1=82.29),
    PublishedWeights("resnet18_v1c", f"{MMLAB}resnet18_v1c-b5776b93.pth", "mmsegmentation"),
    PublishedWeights("resnet50_v1c", "timm/resnet50c.gluon_in1k", "GluonCV by way of timm", top1=78.0),
    PublishedWeights("resnet50_v1c", f"{MMLAB}resnet50_v1c-2cccc1ad.pth", "mmsegmentation"),
    PublishedWeights("resnet101_v1c", "timm/resnet101c.gluon_in1k", "GluonCV by way of timm", top1=79.53),
    PublishedWeights("resnet101_v1c", f"{MMLAB}resnet101_v1c-e67eebb6.pth", "mmsegmentation"),
    PublishedWeights("resnet152_v1c", "timm/resnet152c.gluon_in1k", "GluonCV by way of timm", top1=79.92),
    PublishedWeights("resnet18_vd", "timm/resnet18d.ra2_in1k", "timm", top1=73.81, size=288),
    PublishedWeights("resnet18_vd", "timm/resnet18d.ra4_e3600_r224_in1k", "timm", normalization="0.5"),
    PublishedWeights("resnet18_vd", f"{CLAS}legendary_models/ResNet18_vd_pretrained.pdparams", "PaddleClas", top1=72.3),
    PublishedWeights("resnet34_vd", "timm/resnet34d.ra2_in1k", "timm", top1=78.43, size=288),
    PublishedWeights(
        "resnet34_vd", f"{CLAS}legendary_models/ResNet34_vd_ssld_pretrained.pdparams", "PaddleClas", top1=79.7
    ),
    PublishedWeights("resnet50_vd", "timm/resnet50d.ra2_in1k", "timm", top1=81.37, size=288),
    PublishedWeights(
        "resnet50_vd", f"{CLAS}legendary_models/ResNet50_vd_ssld_pretrained.pdparams", "PaddleClas", top1=83.0
    ),
    PublishedWeights("resnet50_vd", f"{SEG}resnet50_vd_ssld_v2.tar.gz", "PaddleSeg", normalization="0.5"),
    PublishedWeights("resnet101_vd", "timm/resnet101d.ra2_in1k", "timm", top1=83.02, size=320),
    PublishedWeights("resnet101_vd", f"{SEG}resnet101_vd_ssld.tar.gz", "PaddleSeg", normalization="0.5"),
    PublishedWeights(
        "resnet101_vd", f"{CLAS}legendary_models/ResNet101_vd_ssld_pretrained.pdparams", "PaddleClas", top1=83.7
    ),
    PublishedWeights("resnet152_vd", "timm/resnet152d.ra2_in1k", "timm", top1=83.67, size=320),
    PublishedWeights(
        "resnet152_vd", f"{CLAS}legendary_models/ResNet152_vd_pretrained.pdparams", "PaddleClas", top1=80.6
    ),
    PublishedWeights(
        "resnet200_vd", f"{CLAS}legendary_models/ResNet200_vd_pretrained.pdparams", "PaddleClas", top1=80.9
    ),
    PublishedWeights("resnext50_32x4d", "timm/resnext50_32x4d.a1h_in1k", "timm", top1=82.03, size=288),
    PublishedWeights("resnext50_32x4d", "timm/resnext50_32x4d.tv2_in1k", "torchvision by way of timm", BSD, top1=81.17),
    PublishedWeights(
        "resnext101_32x8d", "timm/resnext101_32x8d.tv2_in1k", "torchvision by way of timm", BSD, top1=82.83
    ),
    PublishedWeights("resnext50_vd_32x4d", "timm/resnext50d_32x4d.bt_in1k", "timm", top1=80.67, size=288),
    PublishedWeights("resnext101_vd_32x4d", f"{CLAS}ResNeXt101_vd_32x4d_pretrained.pdparams", "PaddleClas", top1=80.33),
)


def best_weights(backbone: str) -> PublishedWeights | None:
    """Return the weights with the highest published top-1 accuracy for a choice of `backbone=`; None if none exist."""
    entries = [entry for entry in PUBLISHED_WEIGHTS if entry.backbone == backbone]
    return max(entries, key=lambda entry: entry.top1 or 0.0, default=None)


def choice_of(spec: Mapping[str, Any]) -> str | None:
    """Return the choice of `backbone=` whose published weights fit a ResNet.

    Args:
        spec: spec of a backbone; missing options have their defaults.

    Returns:
        The choice, such as "resnet50_vd", for any output stride and number of image channels. None if no published
        weights fit: other depths, widths or strides, or norm layers without running statistics.
    """
    norm = (spec.get("norm") or {}).get("name", "batch")
    standard = {"stem_channels": 64, "base_channels": 64, "style": "pytorch"}
    if spec.get("name") != "resnet" or norm not in BATCH_NORMS:
        return None
    if any(spec.get(option, value) != value for option, value in standard.items()):
        return None
    layers = LAYERS.get((spec.get("block", "bottleneck"), tuple(spec.get("depths") or ())))
    variant = VARIANTS.get((spec.get("stem", "deep"), spec.get("shortcut", "pool")))
    groups, width = spec.get("groups", 1), spec.get("base_width", 64)
    if layers is None or variant is None:
        return None
    if groups == 1:
        return f"resnet{layers}{variant}" if width == 64 else None
    return f"resnext{layers}{variant}_{groups}x{width}d"


def license_of(source: str) -> str | None:
    """Return the license of weights as an SPDX identifier; None if it is unknown."""
    for entry in PUBLISHED_WEIGHTS:
        if entry.source == source:
            return entry.license
    for model in zoo.PUBLISHED_MODELS:
        if model.url == source:
            return model.license
    return NON_COMMERCIAL if NON_COMMERCIAL_NAMES.search(source) else None


def license_line(source: str) -> str:
    """Return the log line about the license of downloaded weights."""
    license = license_of(source)
    if license == NON_COMMERCIAL:
        return f"{source}: license {license}, non-commercial use only"
    if license is not None:
        return f"{source}: license {license}"
    page = f"https://huggingface.co/{source}" if "://" not in source else "the page of its project"
    return f"{source}: unknown license, see {page}"
