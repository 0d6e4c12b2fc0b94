"""Inspect a dataset without class names: list the values of its masks, and suggest options."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from segnet.classes import MULTILABEL
from segnet.data import DATASETS, build_splits
from segnet.data.augment.listed import checked_augment
from segnet.data.datasets.pairing import lost_files
from segnet.data.scan.mask_values import SplitContent, read_contents
from segnet.data.scan.readings import Reading
from segnet.data.scan.values_report import ValuesReport
from segnet.errors import ConfigError
from segnet.system.files import replacing
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import require_inspectable, with_sheet_crop, write_contact_sheet

PLACEHOLDER = ("unnamed",)  # class names of a dataset that is read without conversion
NEEDS_NAMES = ("id_map", "color_map", "palette")


def has_no_names(config: InspectConfig) -> bool:
    """Return True if the dataset needs class names and has none."""
    return "class_names" in config.dataset and config.dataset["class_names"] in (None, "???")


def inspect_values(config: InspectConfig, output_dir: Path) -> tuple[ValuesReport, Path | None]:
    """Read the masks of a dataset without conversion, and suggest the options that name the classes.

    Writes into the folder: inspection.json; dataset/NAME.yaml, a choice for `dataset=NAME`; and contact_sheet.png with
    the likeliest reading.

    Returns:
        The report, and the path of the choice; None if the masks have no reading.

    Raises:
        ConfigError: an option needs class names.
        DataError: a split cannot be built.
    """
    require_inspectable(config)
    config = replace(config, data=checked_augment(config.data))
    spec = {key: value for key, value in config.dataset.items() if key != "class_names"}
    for option in NEEDS_NAMES:
        if spec.get(option) is not None:
            raise ConfigError(f"dataset.{option} needs dataset.class_names: set both, or leave out dataset.{option}")
    if spec.get("task") == MULTILABEL:
        raise ConfigError('dataset.class_names is not set: add "dataset.class_names=[disk,ring]", one a plane')
    with lost_files() as lost:
        datasets = build_splits({**spec, "class_names": list(PLACEHOLDER)}, config.splits)
    report = ValuesReport(spec, read_contents(datasets), list(dict.fromkeys(lost)), config.data)
    with replacing(output_dir / "inspection.json") as temporary:
        temporary.write_text(json.dumps(report.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if not report.readings:
        return report, None
    first = report.readings[0]
    choice = output_dir / "dataset" / f"{_choice_name(spec)}.yaml"
    choice.parent.mkdir(exist_ok=True)
    absolute = replace(report, spec=_absolute(spec))
    with replacing(choice) as temporary:
        temporary.write_text(absolute.yaml(first), encoding="utf-8")
    _show(report, report.splits[0], first, config, output_dir / "contact_sheet.png")
    return report, choice


def _show(report: ValuesReport, content: SplitContent, reading: Reading, config: InspectConfig, target: Path) -> None:
    """Write the contact sheet of a split with a reading's options."""
    usable = [index for index, finding in enumerate(content.findings) if not finding.problem]
    if not usable or not config.num_images:
        return
    choice = report.choice(reading)
    samples = build_splits(choice["dataset"], [content.split])[content.split]
    data = with_sheet_crop(replace(config.data, **choice.get("data", {})), content.sizes)
    write_contact_sheet(samples, usable, replace(config, dataset=choice["dataset"], data=data), target)


def _choice_name(spec: dict[str, Any]) -> str:
    """Return a name for the dataset: its folder's name, unless segnet has a dataset of that name."""
    root = spec["root"] if isinstance(spec["root"], str) else spec["root"][0]
    name = re.sub(r"\W+", "_", Path(root).resolve().name).strip("_").lower() or "mine"
    return f"my_{name}" if name in DATASETS or not name[0].isalpha() else name


def _absolute(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec with absolute folders."""
    root = spec["root"]
    found = os.path.abspath(root) if isinstance(root, str) else [os.path.abspath(name) for name in root]
    return {**spec, "root": found}
