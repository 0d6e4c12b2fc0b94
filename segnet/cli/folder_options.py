"""The options that a dataset's folder brings along: segnet.json, as `segnet serve --collect` writes it.

With it `segnet train FOLDER` needs no class names. Options of the command line take precedence.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segnet.choices import FOLDER_OPTIONS
from segnet.components import as_typed
from segnet.errors import ConfigError

OPTION_NAMES = ("class_names", "palette", "ignore_index", "channels", "value_range")
PREFIX = "dataset.root="


def folder_options(overrides: Sequence[str]) -> list[str]:
    """Overrides for the options in a folder's segnet.json, without those that are given; empty without such a file.

    Args:
        overrides: options in Hydra's syntax. Only dataset=folder with one root reads the file.

    Raises:
        ConfigError: the file cannot be read, or has other options.
    """
    given = {override.partition("=")[0].lstrip("+~") for override in overrides}
    roots = [override.removeprefix(PREFIX) for override in overrides if override.startswith(PREFIX)]
    if "dataset=folder" not in overrides or "experiment" in given or len(roots) != 1:
        return []
    path = Path(_unquoted(roots[0])).expanduser() / FOLDER_OPTIONS
    if not path.is_file():
        return []
    options = _read_file(path)
    if "dataset.class_names" in given:  # other names have other colors
        options.pop("palette", None)
    return [
        f"dataset.{key}={_option_text(value)}"
        for key, value in options.items()
        if f"dataset.{key}" not in given and value is not None
    ]


def _option_text(value: Any) -> str:
    """A value of JSON in Hydra's grammar, with all digits; ${...} in a class name is no interpolation."""
    if isinstance(value, list):
        return f"[{','.join(map(_option_text, value))}]"
    return as_typed(value).replace("${", r"\${") if isinstance(value, str) else json.dumps(value)


def _unquoted(text: str) -> str:
    """The value of an override, such as 'a b' or "a b", without its quotes."""
    if len(text) < 2 or text[0] != text[-1] or text[0] not in ("'", '"'):
        return text
    quote = text[0]
    return text[1:-1].replace(f"\\{quote}", quote).replace("\\\\", "\\")


def _read_file(path: Path) -> dict[str, Any]:
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}): repair or delete it, and add dataset.class_names"
        ) from None
    if not isinstance(options, dict):
        raise ConfigError(f"{path}: must be an object of options: repair or delete it, and add dataset.class_names")
    for key in options:
        if key not in OPTION_NAMES:
            raise ConfigError(f"{path}: '{key}' is not one of {', '.join(OPTION_NAMES)}: delete it from the file")
    return options
