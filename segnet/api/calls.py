"""What the functions of the public API share: options, run folder, representation in a notebook."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table
from rich.text import Text

from segnet.cli.calls import changed_config, composed_call
from segnet.config import Config, LoaderConfig
from segnet.errors import ConfigError, MachineError
from segnet.inference.ensemble import StrPath
from segnet.system.files import removing_if_empty
from segnet.workflows.evaluate import device_options

T = TypeVar("T")


def configured(
    verb: str, schema: type[T], options: tuple[Any, ...], values: dict[str, Any], output_dir: StrPath | None
) -> tuple[T, Path]:
    """Return the configuration of a call, and its run folder.

    Raises:
        ConfigError: an unknown option, or an invalid value.
    """
    folder = None if output_dir is None else Path(os.path.expanduser(output_dir))
    if not options or not isinstance(options[0], schema):
        return composed_call(verb, schema, options, values, folder)
    if len(options) > 1:
        raise ConfigError(f"{options[1]}: options after a configuration must be keywords, such as optim__lr=0.02")
    sections = {name: getattr(options[0], name, {}) for name in ("dataset", "backbone")}
    choices = {name: str(section.get("name", "")) for name, section in sections.items() if isinstance(section, dict)}
    return changed_config(verb, options[0], values, folder, choices)


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """Create the run folder; at the end remove it if nothing was written.

    Raises:
        MachineError: it cannot be created.
    """
    with removing_if_empty(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{folder}: the run folder cannot be created ({error.strerror})"
            raise MachineError(f"{reason}: choose another output_dir") from None
        yield


def notebook_bundle(result: object, table: Table | None) -> dict[str, str]:
    """Return the representation in a notebook: the table, with the result in one line below."""
    if table is None:
        return {"text/plain": repr(result)}
    table.caption = Text(repr(result))
    return dict(table._repr_mimebundle_([], []))


def evaluation_options(config: Config) -> dict[str, Any]:
    """Return the options of a training that an evaluation takes too: dataset, data workers and device."""
    return {
        "dataset": config.dataset,
        "data": LoaderConfig(num_workers=config.data.num_workers, timeout=config.data.timeout),
        "trainer": {"accelerator": "auto", **device_options(config.trainer)},
    }
