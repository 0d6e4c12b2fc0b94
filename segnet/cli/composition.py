"""Hydra's side of the verbs that it configures: compose, and say in one line what is wrong with an option.

Hydra lives only here. Its own messages name no nearest option and end in exit code 1, so every command line is composed
once on trial before Hydra runs it.
"""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segnet.cli.grammar import SWITCHES_WITH_VALUE, hint, to_overrides
from segnet.cli.help import CONF_DIR
from segnet.cli.schemas import accepted, narrowed, schema_node
from segnet.components import did_you_mean
from segnet.errors import ConfigError, MachineError, SegnetError
from segnet.extras import broken_package

T = TypeVar("T")

# Sections without a fixed schema: a key may be new to the yaml, and is checked against the class that takes it.
OPEN_SECTIONS = ("backbone", "decoder", "norm", "loss", "auxiliary_head", "dataset", "logger", "trainer")


def run(name: str, schema: type, task: Callable[[Any, Path], None], arguments: Sequence[str]) -> None:
    """Composes conf/`name`.yaml with the command line and calls `task(config, output_dir)`.

    Args:
        schema: dataclass of the configuration, of which `task` gets an instance.
        task: under --multirun it is called once a job.

    Raises:
        ConfigError: what is wrong on the command line, with the nearest right option.
        MachineError: the run folder cannot be created.
        SegnetError: what `task` raised; under --multirun the first, after all jobs.
    """
    ConfigStore.instance().store("schema", node=schema_node(schema))
    arguments = [_reach_open_section(argument) for argument in to_overrides(name, schema, arguments)]
    if not {"--help", "-h", "--hydra-help", "--version", "--info", "--shell-completion", "-sc"} & set(arguments):
        composed(name, schema, arguments)
    if is_one_of_many() and not any(argument.startswith("hydra.run.dir=") for argument in arguments):
        arguments.append("hydra.run.dir=.")  # each process would name its folder by its own clock; the first tells
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # what is left are our own bugs: show them whole
    command_line = sys.argv
    sys.argv = [command_line[0], *arguments]

    failures: list[SegnetError] = []
    started = False
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
    def application(tree: DictConfig) -> None:
        nonlocal started
        started = True
        config: Any = narrowed(tree, schema)
        sys.argv = command_line  # with it Lightning starts the processes of the other devices
        output_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            task(config, output_dir)
        except SegnetError as error:  # kept from Hydra, which would add lines of its own
            if os.getpid() != process:  # where a launcher such as submitit runs it: Hydra brings the error home
                raise
            failures.append(error)
        except Exception as error:
            broken = broken_package(error)
            if broken is None:
                raise
            failures.append(broken)
        finally:
            with contextlib.suppress(OSError):
                if output_dir != Path.cwd():  # which all but the first of several processes were given
                    output_dir.rmdir()  # succeeds where nothing was written: refused, or resumed in another folder

    try:
        application()
    except OSError as error:
        if started or not error.filename:
            raise
        reason = f"{error.filename}: the run folder cannot be created ({error.strerror})"
        raise MachineError(f"{reason}: choose another hydra.run.dir") from None
    if failures:
        raise failures[0]


def is_one_of_many() -> bool:
    """Whether torchrun or SLURM started this process, and not as the first."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID"))


def _reach_open_section(argument: str) -> str:
    """Write an option as Hydra does: ++trainer.max_time=1 for a key that the yaml lacks, ~logger for logger=null."""
    name, _, value = argument.partition("=")
    if value == "null" and name.isidentifier() and (CONF_DIR / name).is_dir():
        return f"~{name}"
    return f"++{argument}" if re.match(rf"({'|'.join(OPEN_SECTIONS)})\.[^=]+=", argument) else argument


def _without_switches(arguments: Sequence[str]) -> Iterator[str]:
    """The overrides among Hydra's arguments."""
    value_follows = False
    for argument in arguments:
        if not value_follows and not argument.startswith("-"):
            yield argument
        value_follows = argument in SWITCHES_WITH_VALUE


def composed(name: str, schema: type[T], arguments: Sequence[str]) -> T:
    """Compose conf/`name`.yaml with a command line, and run nothing; of a sweep the first job.

    Raises:
        ConfigError: what Hydra would refuse, in one line, with the nearest right option or the allowed values.
    """
    return composed_run(name, schema, arguments)[0]


def composed_run(name: str, schema: type[T], arguments: Sequence[str]) -> tuple[T, Path]:
    """Compose as `composed` does.

    Returns:
        The configuration, and the absolute path of the run folder, which need not exist.

    Raises:
        ConfigError: as `composed`.
    """
    ConfigStore.instance().store("schema", node=schema_node(schema))
    arguments = [_reach_open_section(argument) for argument in to_overrides(name, schema, arguments)]
    is_sweep = bool({"--multirun", "-m"} & set(arguments))
    single_job = [_first_of_sweep(override, is_sweep) for override in _without_switches(arguments)]
    for flag in ("--config-dir", "-cd"):
        if flag in arguments[:-1]:
            folder = Path(arguments[list(arguments).index(flag) + 1]).absolute()
            if not folder.is_dir():
                raise ConfigError(f"{flag} {folder}: no such folder")
            single_job.append(f"hydra.searchpath=[file://{folder}]")
    _refuse_unknown(schema, name, single_job)
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            tree = compose(name, overrides=single_job, return_hydra_config=True)
        folder = run_folder_of(tree)
        OmegaConf.set_struct(tree, False)
        del tree["hydra"]
        own = {option.name for option in dataclasses.fields(schema)}  # type: ignore[arg-type]
        if "dataset" in own and not tree.dataset and name != "evaluate":  # which takes that of the run
            choices = ", ".join(sorted(path.stem for path in (CONF_DIR / "dataset").glob("*.yaml")))
            raise ConfigError(f"dataset is not set: add dataset=..., one of {choices}")
        missing = sorted(key for key in OmegaConf.missing_keys(tree) if re.split(r"[.[]", key)[0] in own)
        if missing:
            raise ConfigError(f"{missing[0]} is not set: add {missing[0]}=...")
        if is_sweep:
            _refuse_in_sweep(tree, own_jobs="submitit" in " ".join(arguments))
        return narrowed(tree, schema), folder
    except yaml.YAMLError as error:
        raise ConfigError(f"a configuration file cannot be read: {' '.join(str(error).split())}") from None
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explanation(error, schema, name, single_job)) from None


def run_folder_of(tree: DictConfig) -> Path:
    """Return the absolute path that `hydra.run.dir` names in a composed configuration."""
    state = HydraConfig.instance()
    before = state.cfg
    state.set_config(tree)  # ${hydra:runtime.choices.dataset} is read from there
    try:
        return Path(tree.hydra.run.dir).absolute()
    finally:
        state.cfg = before


def _first_of_sweep(override: str, is_sweep: bool) -> str:
    """One value of `lr=0.1,0.2`, as --multirun will try it.

    Raises:
        ConfigError: several values without --multirun, or an override that cannot be read.
    """
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise ConfigError(f"'{override}' cannot be read: {str(error).splitlines()[0]}; quote it as '...'") from None
    if not parsed.is_sweep_override():
        return override
    key, _, value = override.partition("=")
    if not is_sweep:
        name = key.lstrip("+~")
        raise ConfigError(f'{name}={value}: a list has brackets: "{name}=[{value}]"; --multirun tries each value')
    prefix = override[: len(override) - len(override.lstrip("+~"))]
    return f"{prefix}{parsed.get_key_element().lstrip('+~')}={next(iter(parsed.sweep_string_iterator()))}"


def _refuse_unknown(schema: type, name: str, overrides: Sequence[str]) -> None:
    """Refuse options that a verb does not have: Hydra would accept `+option=1`, and those of a training."""
    known = accepted(schema)
    for override in overrides:
        option = override.lstrip("+~").partition("=")[0]
        section = option.partition(".")[0]
        is_open = section in OPEN_SECTIONS and section in known
        if option not in known and not is_open and not re.match(r"hydra[./]|experiment$", option):
            raise ConfigError(unknown_option(option, name, overrides, known))


def unknown_option(option: str, name: str, overrides: Sequence[str], known: Iterable[str]) -> str:
    """The one line about an option that does not exist, with what was probably meant."""
    values = [value for key, _, value in (text.partition("=") for text in overrides) if key.lstrip("+~") == option]
    answer = hint(name, option, values[0] if values else "", known)
    return f"{option} is not an option of segnet {name}.{answer or f' See segnet {name} --help'}"


def _refuse_in_sweep(composed: DictConfig, own_jobs: bool) -> None:
    """Refuses what a sweep cannot do.

    Args:
        own_jobs: whether each run of the sweep is a job of its own, with its own command line.

    Raises:
        ConfigError: an option that means a single run.
    """
    if composed.get("checkpoint") is not None:
        raise ConfigError(f"checkpoint={composed.checkpoint} resumes one run: leave out --multirun")
    devices = composed.trainer.get("devices", 1) if "trainer" in composed else 1
    if devices not in (1, "1", "auto") and not own_jobs:
        raise ConfigError(
            f"trainer.devices={devices}: each of its processes would run the whole sweep again: leave out --multirun, "
            "or use hydra/launcher=submitit_slurm"
        )


def _missing_choice(error: MissingConfigException) -> str:
    """A group's choice that does not exist: "backbone=resnet51_vd is not there"."""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    if group and error.options:
        return f"{group}={choice} is unknown.{did_you_mean(choice, [str(option) for option in error.options])}"
    return str(error).splitlines()[0]


def explanation(error: Exception, schema: type, name: str, overrides: Sequence[str]) -> str:
    """Hydra's and OmegaConf's errors in our words."""
    first = str(error).splitlines()[0]
    if isinstance(error, OverrideParseException):
        return f"an option cannot be read: {first}"
    unknown = re.match(r"Could not override '([^']+)'", first)
    if unknown:
        known = (accepted(schema) | {path.name for path in CONF_DIR.iterdir() if path.is_dir()}) - {unknown[1]}
        return unknown_option(unknown[1], name, overrides, known)
    if error.__cause__ is not None:
        key = getattr(error.__cause__, "full_key", None)
        reason = str(error.__cause__).splitlines()[0]
        if "is not a ListConfig" in reason:
            reason = f'must be a list in brackets, as "{key}=[...]"'
        return f"{key}: {reason}" if key else f"{first}: {reason}"
    return " ".join(str(error).split())
