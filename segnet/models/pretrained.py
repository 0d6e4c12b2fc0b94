"""Save and load a model as a safetensors folder, as huggingface_hub's `from_pretrained` reads it, with a model card.

``model.safetensors`` contains the weights, ``config.json`` the arguments of `segnet.hub.HubModel`, ``README.md`` the
model card. This module does not need huggingface_hub; `segnet.hub` does.
"""

import html
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from segnet.classes import Classes
from segnet.errors import CheckpointError, printable
from segnet.models.checkpoint import TEMPERATURE_KEY, build_model, require_description
from segnet.models.digests import require_config_digests, with_config_digests
from segnet.models.segmentation_model import SegmentationModel
from segnet.models.temperature import UNCALIBRATED, Temperature
from segnet.system.files import replacing
from segnet.system.integrity import refusing_damage

NO_MODEL = "is not a model of segnet, or is damaged"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TAGS = ["segnet", "image-segmentation", "semantic-segmentation"]


def is_pretrained(path: str | os.PathLike[str]) -> bool:
    """Return True if a path is a pretrained folder or a .safetensors file."""
    return Path(path).suffix == ".safetensors" or (Path(path) / CONFIG).is_file()


def save_pretrained(
    spec: Mapping[str, Any],
    state: Mapping[str, Tensor],
    classes: Classes,
    folder: Path,
    temperature: Temperature = UNCALIBRATED,
) -> None:
    """Write the three files, each atomically.

    Args:
        spec: arguments of SegmentationModel.
        state: the model's weights.
        classes: the model's classes.
        folder: the output folder.
        temperature: that of the model's probabilities.

    Raises:
        MachineError: a file cannot be written.
    """
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: value.contiguous() for name, value in state.items()}, temporary, metadata={"format": "pt"})
    calibration = {} if temperature.is_one else {TEMPERATURE_KEY: list(temperature.values)}  # older versions have none
    config = with_config_digests({**spec, "classes": classes.to_dict(), **calibration}, folder / WEIGHTS)
    for name, text in ((CONFIG, json.dumps(config, indent=2) + "\n"), (CARD, model_card(spec, classes))):
        with replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def load_pretrained(path: str | os.PathLike[str]) -> tuple[SegmentationModel, Classes]:
    """Load a model from a pretrained folder or its .safetensors file.

    Returns:
        The model on the CPU, in eval mode, and its classes.

    Raises:
        CheckpointError: a file is missing or damaged, or the files do not fit each other.
    """
    weights = Path(path) if Path(path).suffix == ".safetensors" else Path(path) / WEIGHTS
    folder = weights.parent
    for file in (folder / CONFIG, weights):
        if not file.is_file():
            raise CheckpointError(f"{folder}: has no {file.name}")
    with refusing_damage(folder, NO_MODEL):
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        state = load_file(weights)
        config = require_config_digests(config, weights)
        classes, temperature = config.pop("classes", None), config.pop(TEMPERATURE_KEY, None)
        require_description(config, classes)
        model = build_model(config, state)
        model.temperature = Temperature.read(temperature, len(classes["names"]))
        return model, Classes.create(**classes)


def markdown_text(text: str) -> str:
    """Escape text for a cell of a Markdown table: no formatting, no HTML, no links."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~:@])", r"\\\1", html.escape(printable(text), quote=False))


def model_card(spec: Mapping[str, Any], classes: Classes) -> str:
    """Write the model card, README.md: architecture, classes and usage."""
    tags = "\n".join(f"- {tag}" for tag in TAGS)
    rows = "\n".join(
        f"| {index} | {markdown_text(name)} | {', '.join(map(str, color))} |"
        for index, (name, color) in enumerate(zip(classes.names, classes.palette, strict=True))
    )
    return f"""---
library_name: segnet
pipeline_tag: image-segmentation
tags:
{tags}
---

# Semantic segmentation: {len(classes.names)} classes

{spec["decoder"].get("name")} on {spec["backbone"].get("name")} at output stride {spec["decoder"].get("output_stride")}.
Takes RGB images of 0-255 in any size and normalizes them itself (mean {list(spec["mean"])}, std {list(spec["std"])}).

```python
from segnet.hub import HubModel

model = HubModel.from_pretrained("NAME").eval()
logits = model(images)  # (batch, {len(spec["mean"])}, height, width) -> (batch, {len(classes.names)}, height, width)
```

or `segnet predict photo.jpg --checkpoint FOLDER`.

| id | class | color (red, green, blue) |
| --- | --- | --- |
{rows}

Pixels of value {classes.ignore_index} were ignored in training. Describe here the training
images and the intended use.
"""
