"""`segnet backbones`: list the choices of `backbone=`, their cost and their ImageNet weights."""

import dataclasses
import json
from collections.abc import Sequence

from segnet.cli.arguments import Parser
from segnet.cli.help import choices_of
from segnet.cli.output import print_table, say
from segnet.errors import ExitCode
from segnet.weights.catalog import BACKBONE_COSTS, PUBLISHED_WEIGHTS, best_weights


def main(arguments: Sequence[str]) -> int:
    """List the backbones; return exit code 0."""
    options = build_parser().parse_args(arguments)
    names = sorted((name for name in choices_of("backbone") if name in BACKBONE_COSTS), key=BACKBONE_COSTS.__getitem__)
    if options.json:
        print(json.dumps([described(name) for name in names], indent=2))
        return ExitCode.OK
    rows = []
    for name in names:
        parameters, macs = BACKBONE_COSTS[name]
        best = best_weights(name)
        accuracy = f"{best.top1:.1f}" if best and best.top1 else ""
        weights = (best.license, best.publisher, short(best.source)) if best else ("", "", "none: random weights")
        rows.append((name, f"{parameters:.1f}", f"{macs:.1f}", accuracy, *weights))
    columns = ("backbone", "parameters [M]", "GMACs", "top-1 %", "license", "publisher", "imagenet weights")
    print_table(columns, rows, right=("parameters [M]", "GMACs", "top-1 %"))
    say("GMACs: for an image of 224 x 224 at output stride 32. top-1: as published; --json has image sizes and URLs.")
    say("backbone=timm backbone.model=NAME builds any other backbone that timm has.")
    return ExitCode.OK


def short(source: str) -> str:
    """Return a short name of weights: the name on the hub, or the file name of a URL."""
    return source.rpartition("/")[2] if "://" in source else source


def described(name: str) -> dict[str, object]:
    """Return a backbone as builtins: its cost, and all published weights, the default first."""
    best = best_weights(name)
    entries = sorted(
        (entry for entry in PUBLISHED_WEIGHTS if entry.backbone == name), key=lambda entry: (entry != best,)
    )
    parameters, macs = BACKBONE_COSTS[name]
    return {
        "name": name,
        "parameters": round(1e6 * parameters),
        "macs": round(1e9 * macs),
        "weights": [dataclasses.asdict(entry) for entry in entries],
    }


def build_parser() -> Parser:
    """Build the parser of `segnet backbones`."""
    parser = Parser(
        prog="segnet backbones",
        description="Lists the backbones with their cost, and the weights of backbone_weights=imagenet.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all published weights")
    return parser
