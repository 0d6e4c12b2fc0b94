"""command.txt of a run with a budget: the command line that repeats the run without it, by its number of steps."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segnet.cli.calls import call_overrides, literal
from segnet.cli.composition import composed
from segnet.cli.grammar import to_overrides
from segnet.cli.help import CONF_DIR
from segnet.components import as_options
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.system.files import replacing
from segnet.training.run_config import stored_choices

COMMAND = "command.txt"
CONFIG_FOLDER = ("--config-dir", "-cd")
SPECS = ("backbone", "decoder", "loss", "auxiliary_head", "dataset", "logger")  # sections with choices in conf/


def write_command(overrides: Sequence[str], folder: Path) -> str:
    """Write the command that repeats a finished run into its folder; return it.

    Args:
        overrides: options of the run, in Hydra's syntax; --config-dir may stand before them.
        folder: the run folder.

    Raises:
        MachineError: the file cannot be written.
    """
    command = repeating_command(overrides, folder)
    with replacing(folder / COMMAND) as temporary:
        temporary.write_text(command + "\n", encoding="utf-8")
    return command


def repeating_command(overrides: Sequence[str], folder: Path) -> str:
    """Return the command that repeats a finished run with a budget by its number of steps.

    Args:
        overrides: options of the run, in Hydra's syntax; --config-dir may stand before them.
        folder: the run folder.
    """
    choices = stored_choices(folder)
    own = [override.removeprefix("++") for override in overrides]
    nulls = {word.removesuffix("=null") for word in own if word.endswith("=null")}
    replaced = {"budget", "checkpoint", "hydra.run.dir"} | nulls & choices.keys()
    kept = [word for word in own if word.partition("=")[0] not in replaced]
    given = {override.partition("=")[0] for override in kept}
    options = {name: choices[name] for name in sorted(choices.keys() - {*given, "trainer.max_epochs"})}
    return " ".join(["segnet train", *map(shlex.quote, kept), as_options(options)])


def config_folder(arguments: Sequence[str]) -> list[str]:
    """Return the switch --config-dir of a command line with its value; empty without one."""
    places = [index for index, word in enumerate(arguments[:-1]) if word in CONFIG_FOLDER]
    return [CONFIG_FOLDER[0], str(Path(arguments[places[0] + 1]).absolute())] if places else []


def overrides_of_call(options: Sequence[str | Config], values: Mapping[str, Any], config: Config) -> list[str] | None:
    """Return the options of a training started from Python, in Hydra's syntax; None if no command line says them.

    Args:
        options, values: arguments of `segnet.train`.
        config: the configuration that they give.
    """
    words = [option for option in options if isinstance(option, str)]
    if len(words) < len(options):
        return overrides_of_config(config)
    overrides = call_overrides(words, values)
    switch = config_folder(overrides)
    if switch:
        place = next(index for index, word in enumerate(overrides) if word in CONFIG_FOLDER)
        del overrides[place : place + 2]
    return [*switch, *to_overrides("train", Config, overrides)]


def overrides_of_config(config: Config) -> list[str] | None:
    """Return options that compose a configuration built in Python; None if there are none."""
    wanted = _options_of(config)
    words = []
    for section in SPECS:
        choice = (getattr(config, section) or {}).get("name")
        if choice and (CONF_DIR / section / f"{choice}.yaml").is_file():
            words.append(f"{section}={choice}")
    required = [name for name in wanted if name.startswith("dataset.") and name != "dataset.name"]
    words += [f"{name}={literal(name, wanted[name])}" for name in required]
    try:
        base = _options_of(composed("train", Config, words))  # a choice sets options of other sections too
        changed = [name for name in wanted if name not in base or base[name] != wanted[name]]
        words += [f"{name}={literal(name, wanted[name])}" for name in changed if name not in required]
        words += [f"~{name}" for name in base if name not in wanted]
        return words if composed("train", Config, words) == config else None
    except ConfigError:
        return None


def _options_of(config: Config) -> dict[str, Any]:
    """Option -> value, with the options of sections by name: {"seed": 0, "optim.lr": 0.1}."""
    found: dict[str, Any] = {}
    for name, value in asdict(config).items():
        found |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return found
