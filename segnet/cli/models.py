"""`segnet models`: list the published segmentation models. Every verb accepts their names."""

import dataclasses
import json
from collections.abc import Sequence

from segnet.class_sets import CLASS_SETS
from segnet.cli.arguments import Parser
from segnet.cli.output import print_table, say
from segnet.errors import ExitCode
from segnet.weights.zoo import PUBLISHED_MODELS

TERMS = "The datasets have terms of their own: Cityscapes and ADE20K allow non-commercial use only."


def main(arguments: Sequence[str]) -> int:
    """List the models; return exit code 0."""
    options = build_parser().parse_args(arguments)
    if options.json:
        models = [dataclasses.asdict(model) for model in PUBLISHED_MODELS]
        print(json.dumps([{**model, "num_classes": num_classes(model["classes"])} for model in models], indent=2))
        return ExitCode.OK
    columns = ("name", "decoder", "classes", "val mIoU %", "parameters [M]", "publisher", "license")
    rows = [
        (
            model.name,
            model.decoder,
            f"{num_classes(model.classes)} of {model.classes}",
            f"{model.miou:.1f}",
            f"{model.parameters:.1f}",
            model.publisher,
            model.license,
        )
        for model in PUBLISHED_MODELS
    ]
    print_table(columns, rows, right=("val mIoU %", "parameters [M]"))
    say("Use a name as a checkpoint: segnet predict street.jpg --checkpoint cityscapes_resnet50_vd")
    say("It is downloaded, checked and converted the first time. val mIoU: as published, at one scale without flip.")
    say(TERMS)
    return ExitCode.OK


def num_classes(class_set: str) -> int:
    """Return the number of classes in a class set."""
    return len(CLASS_SETS[class_set].names)


def build_parser() -> Parser:
    """Build the parser of `segnet models`."""
    parser = Parser(
        prog="segnet models",
        description="Lists models of PaddleSeg and mmsegmentation. Every verb accepts their names as checkpoints.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the URLs")
    return parser
