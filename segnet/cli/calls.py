"""Options of a call from Python: strings as on the command line, keywords, or a configuration.

Hydra composes them like a command line. Its global state is restored afterwards: the caller may be a notebook, a
program that calls twice, or a Hydra application of its own.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from hydra import compose, initialize_config_dir, version
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segnet.cli.composition import (
    OPEN_SECTIONS,
    composed_run,
    explanation,
    is_one_of_many,
    run_folder_of,
    unknown_option,
)
from segnet.cli.grammar import SWITCHES, SWITCHES_WITH_VALUE
from segnet.cli.help import CONF_DIR, option_names
from segnet.cli.schemas import schema_node
from segnet.errors import ConfigError
from segnet.option_values import check_values

T = TypeVar("T")

RUN_FOLDER = "hydra.run.dir"


def composed_call(
    verb: str, schema: type[T], options: Sequence[str], values: Mapping[str, Any], output_dir: Path | None
) -> tuple[T, Path]:
    """Compose the configuration of a verb from the options of a call.

    Args:
        options: as on the command line: "dataset=folder".
        values: option -> value; "optim__lr" and "optim.lr" both name the option optim.lr.
        output_dir: the run folder; None: that of the options, or a new one under runs/.

    Returns:
        The configuration, and the run folder, which may not exist yet.

    Raises:
        ConfigError: an unknown option, or an invalid value.
    """
    overrides = call_overrides(options, values)
    if output_dir is not None:
        overrides.append(f"{RUN_FOLDER}={literal('output_dir', output_dir)}")
    is_named = any(RUN_FOLDER in override for override in overrides)
    with _own_state():
        config, folder = composed_run(verb, schema, overrides)
    return config, folder if is_named else _unused_folder(folder)


def call_overrides(options: Sequence[str], values: Mapping[str, Any]) -> list[str]:
    """Return the options of a call as on the command line; arguments as for `composed_call`.

    Raises:
        ConfigError: a switch of the command line, or a whole spec for a choice.
    """
    _refuse_switches(options)
    _refuse_specs(values)
    return [*options, *(f"{dotted(name)}={literal(name, value)}" for name, value in values.items())]


def changed_config(
    verb: str, config: T, values: Mapping[str, Any], output_dir: Path | None, choices: Mapping[str, str]
) -> tuple[T, Path]:
    """Check a configuration built in Python, and replace values in it.

    Args:
        values: as for `composed_call`.
        output_dir: the run folder; None: a new one under runs/.
        choices: names of dataset and backbone, for the name of the run folder.

    Returns:
        A copy of the configuration, and the run folder, which may not exist yet.

    Raises:
        ConfigError: an unknown option, or a value of the wrong type.
    """
    known, overrides = set(option_names(type(config))), [f"{name}={value}" for name, value in values.items()]
    try:
        tree = _structured(config)
        for name, value in values.items():
            key = dotted(name)
            if key not in known and key.partition(".")[0] not in OPEN_SECTIONS:
                raise ConfigError(unknown_option(key, verb, overrides, known))
            OmegaConf.update(tree, key, _builtin(name, value), force_add=True)
        changed = OmegaConf.to_object(tree)
    except OmegaConfBaseException as error:
        raise ConfigError(_located(error) or explanation(error, type(config), verb, overrides)) from None
    assert isinstance(changed, type(config))
    check_values(changed)
    return changed, output_dir.absolute() if output_dir else _unused_folder(
        _default_folder(verb, type(config), choices)
    )


def _structured(config: Any) -> DictConfig:
    """Check the types of a configuration section by section: OmegaConf names only the last part of an option."""
    for section in dataclasses.fields(config):
        value = getattr(config, section.name)
        if dataclasses.is_dataclass(value):
            try:
                OmegaConf.structured(value)
            except OmegaConfBaseException as error:
                raise ConfigError(f"{section.name}.{_located(error)}") from None
    tree: DictConfig = OmegaConf.structured(config)
    return tree


def _located(error: OmegaConfBaseException) -> str:
    key = getattr(error, "full_key", None)
    return f"{key}: {str(error).splitlines()[0]}" if key else ""


def _default_folder(verb: str, schema: type, choices: Mapping[str, str]) -> Path:
    """The default run folder of the command line."""
    with _own_state():
        ConfigStore.instance().store("schema", node=schema_node(schema))
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            tree: DictConfig = compose(verb, return_hydra_config=True)
        OmegaConf.set_readonly(tree, False)
        tree.hydra.runtime.choices.update(choices)
        return run_folder_of(tree)


def _unused_folder(folder: Path) -> Path:
    """A run folder that does not exist yet; the current folder in processes of rank 1 and above."""
    if is_one_of_many():  # rank zero names the folder: clocks differ between processes
        return Path.cwd()
    count, free = 1, folder
    while free.exists():
        count += 1
        free = folder.with_name(f"{folder.name}_{count}")
    return free


def _refuse_switches(options: Sequence[str]) -> None:
    for option in options:
        if not isinstance(option, str):
            raise ConfigError(
                f"{option!r}: write options as 'name=value' or as keywords; a Config stands alone and first"
            )
        name = option.partition("=")[0]
        if name in SWITCHES | SWITCHES_WITH_VALUE and name not in ("--config-dir", "-cd"):
            raise ConfigError(f"{option}: is for the command line only")


def _refuse_specs(values: Mapping[str, Any]) -> None:
    """Refuse a whole spec for a choice: it would be merged with the options of a file in conf/."""
    for name, value in values.items():
        if isinstance(value, Mapping) and (CONF_DIR / name).is_dir():
            options = ", ".join(f"{name}__{key}=..." for key in list(value)[:2]) or f"{name}__option=..."
            raise ConfigError(f"{name}={value!r}: write {name}='CHOICE', {options}; pass a whole spec in a Config")


def dotted(name: str) -> str:
    """Return the option that a keyword names: "optim.lr" for "optim__lr"."""
    return name.replace("__", ".")


def literal(name: str, value: Any) -> str:
    """Return a value in the grammar of Hydra's command line, without loss of digits.

    Args:
        name: its option, for errors.

    Raises:
        ConfigError: a type that no option takes.
    """
    plain = _builtin(name, value)
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain]
    if isinstance(plain, int | float):
        return repr(plain)
    if isinstance(plain, str):
        return QuotedString(plain, Quote.single).with_quotes()
    if isinstance(plain, list):
        return f"[{','.join(literal(name, item) for item in plain)}]"
    return "{" + ",".join(f"{key}:{literal(name, item)}" for key, item in plain.items()) + "}"


def _builtin(name: str, value: Any) -> Any:
    """A value as builtins: paths become text, tuples and arrays lists.

    Raises:
        ConfigError: a type that no builtin represents.
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _builtin(name, item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_builtin(name, item) for item in value]
    raise ConfigError(f"{dotted(name)}={value!r}: an option takes text, numbers, lists and mappings, not this type")


@contextlib.contextmanager
def _own_state() -> Iterator[None]:
    """Give Hydra a global state of its own, and restore the caller's afterwards."""
    application, run, base, store = (
        GlobalHydra.instance(),
        HydraConfig.instance(),
        version.VersionBase.instance(),
        ConfigStore.instance(),
    )
    before = application.hydra, run.cfg, base.version_base, store.repo
    application.hydra, run.cfg, store.repo = None, None, dict(store.repo)
    try:
        yield
    finally:
        GlobalHydra.set_instance(application)  # Hydra restores a copy only
        application.hydra, run.cfg, base.version_base, store.repo = before
