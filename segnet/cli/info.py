"""`segnet info FILE`: contents of a checkpoint or an exported model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from segnet.cli.arguments import Parser, one_checkpoint
from segnet.errors import ConfigError, ExitCode, printable
from segnet.published.zoo import find_model


def main(arguments: Sequence[str]) -> int:
    """Print the contents of a model file; return exit code 0. An unusable file ends in exit code 4."""
    options = build_parser().parse_args(arguments)
    path = one_checkpoint("info", options.checkpoint, options.model)
    if path is None:
        raise ConfigError("info: no file; add one, such as segnet info best.ckpt")
    from segnet.workflows.info import model_info  # late: imports torch, and --help stays fast

    info = model_info(find_model(path))
    print(json.dumps(info, indent=2) if options.json else "\n".join(map(printable, info_lines(path, info))))
    return ExitCode.OK


def build_parser() -> Parser:
    """Build the parser of `segnet info`."""
    parser = Parser(
        prog="segnet info",
        description="Shows the contents of a checkpoint, an exported model (.onnx, .xml, .pt2) or safetensors folder: "
        "classes, architecture, normalization, scores.",
    )
    parser.add_argument("model", nargs="?", metavar="FILE", help="file, folder, or name from segnet models")
    parser.add_argument("--checkpoint", metavar="FILE", help="same as the positional argument")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    return parser


def info_lines(path: str, info: Mapping[str, Any]) -> list[str]:
    """The most important facts as text, one per line."""
    facts = {"file": f"{path} ({info['format']}, {info['size'] / 1e6:.1f} MB)"}
    if "backbone" in info:
        facts["backbone"] = _component(info["backbone"])
        facts["decoder"] = _component(info["decoder"])
        facts["output stride"] = str(info["output_stride"])
        facts["parameters"] = f"{info['parameters'] / 1e6:.2f} M"
    for name in ("input", "output", "made_from"):
        if info.get(name):
            facts[name.replace("_", " ")] = str(info[name])
    facts["normalization"] = f"mean {_rounded(info['mean'])}, std {_rounded(info['std'])} (of values scaled to 0-1)"
    if "epoch" in info:
        facts["trained"] = f"{info['step']:,} steps, {info['epoch'] + 1:,} epochs"
    if "val_miou" in info:
        facts["val mIoU"] = f"{100 * info['val_miou']:.1f} %"
    facts["temperature"] = _temperature(info["temperature"], info.get("calibration", {}))
    if info.get("training"):
        facts["loss"] = _component(info["training"].get("loss") or {})
        facts["optimizer"] = _component(info["training"].get("optim") or {})
    classes = info["classes"]
    facts["classes"] = f"{classes['number']}, ignored label {classes['ignore_index']}"
    thresholds = [""] * len(classes["names"])
    if "task" in classes:
        facts["classes"] = f"{classes['number']}, which may overlap (task={classes['task']})"
        thresholds = [f"  (from probability {value:.3f})" for value in classes["thresholds"]] or thresholds
    lines = [f"{name + ':':15s}{text}" for name, text in facts.items()]
    listed = zip(classes["names"], thresholds, strict=True)
    return lines + [f"{index:6d}  {name}{threshold}" for index, (name, threshold) in enumerate(listed)]


def _temperature(values: Sequence[float], source: Mapping[str, Any]) -> str:
    """The temperature of the probabilities, and the split that it was fitted to."""
    from segnet.models.temperature import Temperature  # late: imports torch

    temperature = Temperature(tuple(values))
    text = "1 (not calibrated)" if temperature.is_one else str(temperature)
    return f"{text} (fitted to {source['num_images']} images of {source['split']})" if "split" in source else text


def _component(spec: Mapping[str, Any]) -> str:
    """A spec on one line, without unset options."""
    options = [f"{key}={_typed(value)}" for key, value in spec.items() if key != "name" and value is not None]
    return " ".join([str(spec.get("name", "")), *options]).strip()


def _typed(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) if isinstance(value, list | dict | bool) else str(value)


def _rounded(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
