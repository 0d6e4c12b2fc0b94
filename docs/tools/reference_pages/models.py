"""Pretrained weights (the catalog) and the model zoo."""

import importlib

from reference_pages.markdown import table


def weights_page() -> str:
    catalog = importlib.import_module("segnet.weights.catalog")
    rows = [
        (
            f"`{entry.backbone}`",
            f"`{entry.source}`",
            f"{entry.publisher}, {entry.license}",
            entry.normalization,
            f"{entry.top1:.1f} at {entry.size}" if entry.top1 else "",
        )
        for entry in catalog.PUBLISHED_WEIGHTS
    ]
    head = ("backbone", "`backbone_weights=`", "publisher, license", "normalization", "published top-1 [%]")
    return (
        "# Pretrained weights\n\nImageNet weights that fit, from `segnet.weights.catalog`. The last column is "
        "their publishers' accuracy and the side of the test images [pixels]. "
        "[Pretrained weights](../guides/pretrained-weights.md) says how to use them.\n\n" + table(rows, head)
    )


def models_page() -> str:
    zoo = importlib.import_module("segnet.weights.zoo")
    verb = importlib.import_module("segnet.cli.models")
    rows = [
        (
            f"`{model.name}`",
            f"{model.miou:.1f}",
            f"{model.decoder}, {model.parameters:.1f} M",
            f"{verb.num_classes(model.classes)} of {model.classes}",
            f"[{model.publisher}]({model.url})",
        )
        for model in zoo.PUBLISHED_MODELS
    ]
    head = ("name", "val mIoU [%]", "decoder, parameters", "classes", "file of")
    licenses = " and ".join(sorted({model.license for model in zoo.PUBLISHED_MODELS}))
    return (
        "# Published models\n\nEvery verb takes these names as a checkpoint: "
        "`segnet predict street.jpg --checkpoint cityscapes_resnet50_vd`. val mIoU is the publishers' figure, at one "
        f"scale without flip; it was not measured here. The models' license is {licenses}. {verb.TERMS} "
        "[Model zoo](../guides/pretrained-weights.md#model-zoo) says how the files are fetched and checked.\n\n"
        + table(rows, head)
    )
