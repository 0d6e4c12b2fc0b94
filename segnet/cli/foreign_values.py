"""Values of other tools' options in segnet's form: `pretrained=false` is `backbone_weights=null`."""

import re
from pathlib import Path

_NO = {"false", "no", "off", "none", "null", "0"}
_YES = {"", "true", "yes", "on", "1"}


def translated(ours: str, key: str, value: str) -> str:
    """Return the value for segnet's option, given the value that another tool's option had.

    Args:
        ours: segnet's option, such as "precision={value}".
        key: name of the other tool's option.
        value: its value; empty: none was given.

    Returns:
        The value in segnet's form, or "..." if there is none.
    """
    plain = value.lower()
    if ours.startswith("backbone_weights="):
        return "null" if plain in _NO else "imagenet" if plain in _YES else value
    if ours.startswith("checkpoint=") and key.startswith("resume"):
        return "null" if plain in _NO else "auto" if plain in _YES else value
    if ours.startswith("precision="):
        return "float32" if plain in _NO else "fp16" if key == "fp16" else "bf16"
    if ours.startswith("optim.schedule="):
        return "cosine" if plain in _YES or "cos" in plain else "poly"
    if ours.startswith("data.augment="):
        return "street" if plain in _YES else value
    if "experiment=" in ours:
        return Path(value).stem or "NAME"
    if "dataset.class_names" in ours:
        return _class_names(value)
    if "trainer.devices" in ours or ours.startswith("trainer.accelerator="):
        return _device(ours, value)
    return value or "..."


def _class_names(value: str) -> str:
    names = value.strip("[]")
    return f"[{names}]" if names and not re.fullmatch(r"\d+", names) else "[road,tree,car]"  # a number names no class


def _device(ours: str, value: str) -> str:
    """The accelerator, or for `gpus` the number of devices; `device=0`, `cuda:1` and `0,1` name GPUs."""
    if "trainer.devices" in ours:  # gpus=2 is a number, gpus=0,1 names two
        return str(value.count(",") + 1) if "," in value else value if value.isdecimal() and value != "0" else "1"
    numbers = re.findall(r"\d+", value)
    if not numbers:
        return "gpu" if value.lower() in ("", "cuda", "gpu") else value.lower()
    if len(numbers) > 1:
        return f"gpu trainer.devices={len(numbers)}"
    return "gpu trainer.devices=1" if numbers == ["0"] else f'gpu "trainer.devices=[{numbers[0]}]"'
