"""Compose the configuration of a verb with Hydra, and report a wrong option in one line.

Only this package imports Hydra. Its own messages suggest no option and end in exit code 1. Every command line is
therefore composed once as a check before Hydra runs it.
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
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from segnet.cli.foreign_options import in_other_words, refuse_foreign
from segnet.cli.grammar import SWITCHES_WITH_VALUE, hint, to_overrides
from segnet.cli.help import CONF_DIR
from segnet.cli.schemas import accepted, narrowed, schema_node
from segnet.cli.sweeps import jobs_of, refuse_in_sweep
from segnet.components import did_you_mean
from segnet.errors import ConfigError, MachineError, SegnetError
from segnet.extras import broken_package
from segnet.system.files import removing_if_empty

T = TypeVar("T")

# Sections without a fixed schema: a key may be new to the yaml, and is checked against the class that takes it.
NAMES = "dataset.class_names"
# Verbs whose default dataset is that of the checkpoint's run.
DATASET_OF_RUN = ("evaluate", "compare", "doubt", "average", "rank")
NAMED_BY_VALUES = ("folder", "geotiff")  # datasets whose masks segnet inspect reads without class names
OPEN_SECTIONS = (
    *("backbone", "decoder", "norm", "loss", "auxiliary_head", "distillation"),
    *("dataset", "logger", "trainer"),
)


def run(name: str, schema: type, task: Callable[[Any, Path], None], arguments: Sequence[str]) -> None:
    """Compose conf/`name`.yaml with the command line and call `task(config, output_dir)`.

    Args:
        schema: dataclass of the configuration; `task` gets an instance.
        task: called once, or once a job under --multirun.

    Raises:
        ConfigError: an invalid option, with the nearest valid one.
        MachineError: the run folder cannot be created.
        SegnetError: the error of `task`; under --multirun the first one, after all jobs.
    """
    ConfigStore.instance().store("schema", node=schema_node(schema))
    arguments = [_reach_open_section(argument) for argument in to_overrides(name, schema, arguments)]
    run_folder = Path.cwd()
    if not {"--help", "-h", "--hydra-help", "--version", "--info", "--shell-completion", "-sc"} & set(arguments):
        run_folder = composed_run(name, schema, arguments)[1]
    if is_one_of_many() and not any(argument.startswith("hydra.run.dir=") for argument in arguments):
        arguments.append("hydra.run.dir=.")  # rank zero names the folder: clocks differ between processes
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # all other errors are our own bugs: show the stack trace
    command_line = sys.argv
    sys.argv = [command_line[0], *arguments]

    failures: list[SegnetError] = []
    started = False
    process = os.getpid()

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
    def application(tree: DictConfig) -> None:
        nonlocal started
        started = True
        sys.argv = command_line  # with it Lightning starts the processes of the other devices
        output_dir = Path(HydraConfig.get().runtime.output_dir)
        try:
            task(narrowed(tree, schema), output_dir)
        except SegnetError as error:  # Hydra would print further lines
            if os.getpid() != process:  # a launcher such as submitit runs it: Hydra returns the error
                raise
            failures.append(error)
        except Exception as error:
            broken = broken_package(error)
            if broken is None:
                raise
            failures.append(broken)
        finally:
            with contextlib.suppress(OSError):
                if output_dir != Path.cwd():  # the folder of processes of rank 1 and above
                    output_dir.rmdir()  # only an empty folder: after an error, or resumed in another folder

    try:
        with removing_if_empty(run_folder.parent):
            application()
    except OSError as error:
        if started or not error.filename:
            raise
        reason = f"{error.filename}: the run folder cannot be created ({error.strerror})"
        raise MachineError(f"{reason}: choose another hydra.run.dir") from None
    if failures:
        raise failures[0]


def is_one_of_many() -> bool:
    """Whether torchrun or SLURM started this process with a rank of 1 or above."""
    return any(os.environ.get(name, "0") != "0" for name in ("RANK", "SLURM_PROCID"))


def _reach_open_section(argument: str) -> str:
    """Translate to Hydra's syntax: ++trainer.max_time=1 for a key missing in the yaml, ~logger for logger=null."""
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
    """Compose conf/`name`.yaml with a command line without running it; of a sweep the first job.

    Raises:
        ConfigError: an option that Hydra refuses, with the nearest valid option or the allowed values.
    """
    return composed_run(name, schema, arguments)[0]


def composed_run(name: str, schema: type[T], arguments: Sequence[str]) -> tuple[T, Path]:
    """Compose as `composed` does.

    Returns:
        The configuration, and the absolute path of the run folder, which may not exist yet.

    Raises:
        ConfigError: as `composed`; in a sweep, for any of its jobs.
    """
    ConfigStore.instance().store("schema", node=schema_node(schema))
    arguments = [_reach_open_section(argument) for argument in to_overrides(name, schema, arguments)]
    is_sweep = bool({"--multirun", "-m"} & set(arguments))
    jobs = list(jobs_of(list(_without_switches(arguments)), is_sweep, name))
    for flag in ("--config-dir", "-cd"):
        if flag in arguments[:-1]:
            folder = Path(arguments[list(arguments).index(flag) + 1]).absolute()
            if not folder.is_dir():
                raise ConfigError(f"{flag} {folder}: no such folder")
            jobs = [[*job, f"hydra.searchpath=[file://{folder}]"] for job in jobs]
    _refuse_unknown(schema, name, jobs[0])
    found = []
    try:
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            for job in jobs:  # of a sweep, all: a wrong value is refused before the first one starts
                tree = compose(name, overrides=job, return_hydra_config=True)
                folder = run_folder_of(tree)
                found.append((_config_of(name, schema, tree), folder))
                if is_sweep:
                    refuse_in_sweep(tree, own_jobs="submitit" in " ".join(arguments))
        return found[0]
    except yaml.YAMLError as error:
        raise ConfigError(f"a configuration file cannot be read: {' '.join(str(error).split())}") from None
    except MissingConfigException as error:
        raise ConfigError(_missing_choice(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explanation(error, schema, name, jobs[len(found)])) from None


def _config_of(name: str, schema: type[T], tree: DictConfig) -> T:
    """The configuration of a composed tree, which loses Hydra's own section.

    Raises:
        ConfigError: a missing option, or a value out of its range.
    """
    OmegaConf.set_struct(tree, False)
    del tree["hydra"]
    own = {option.name for option in dataclasses.fields(schema)}  # type: ignore[arg-type]
    if "dataset" in own and not tree.dataset and name not in DATASET_OF_RUN:
        choices = ", ".join(sorted(path.stem for path in (CONF_DIR / "dataset").glob("*.yaml")))
        raise ConfigError(f"dataset is not set: add dataset=..., one of {choices}")
    missing = sorted(key for key in OmegaConf.missing_keys(tree) if re.split(r"[.[]", key)[0] in own)
    if missing and not (name == "inspect" and missing == [NAMES] and tree.dataset.name in NAMED_BY_VALUES):
        raise ConfigError(_not_set(missing[0], tree))
    return narrowed(tree, schema)


def _not_set(key: str, tree: DictConfig) -> str:
    """The error message for a missing required option."""
    if key != NAMES:
        return f"{key} is not set: add {key}=..."
    text = f'{key} is not set: add "{key}=[road,tree,car]", the classes in the order of their ids'
    lists_values = tree.dataset.get("name") in NAMED_BY_VALUES
    return f"{text}; segnet inspect without it lists the values of the masks" if lists_values else text


def run_folder_of(tree: DictConfig) -> Path:
    """Return the absolute path of `hydra.run.dir` in a composed configuration."""
    state = HydraConfig.instance()
    before = state.cfg
    state.set_config(tree)  # ${hydra:runtime.choices.dataset} is read from there
    try:
        return Path(tree.hydra.run.dir).absolute()
    finally:
        state.cfg = before


def _refuse_unknown(schema: type, name: str, overrides: Sequence[str]) -> None:
    """Refuse options unknown to a verb: Hydra would accept `+option=1` and all options of train."""
    known = accepted(schema)
    sections = {option.name for option in dataclasses.fields(schema) if dataclasses.is_dataclass(option.type)}
    wrong = []
    for override in overrides:
        option, _, value = override.lstrip("+~").partition("=")
        section = option.partition(".")[0]
        is_open = section in OPEN_SECTIONS and section in known
        is_section = option in sections and not value.startswith("{")
        if is_section or not (option in known or is_open or re.match(r"hydra[./]|(experiment|task)$", option)):
            wrong.append((override, option, value))
    roots = [override.partition("=")[2] for override in overrides if override.lstrip("+").startswith("dataset.root=")]
    refuse_foreign(name, {option: value for _, option, value in wrong}, roots)
    for override, option, value in wrong:
        if option in sections:
            answer = in_other_words(name, option, value) or f" Write {option}.NAME=VALUE, see segnet {name} --help"
            raise ConfigError(f"{override}: {option} is a section of options.{answer}")
        raise ConfigError(unknown_option(option, name, overrides, known))


def unknown_option(option: str, name: str, overrides: Sequence[str], known: Iterable[str]) -> str:
    """The error message for an unknown option, with a suggestion."""
    values = [value for key, _, value in (text.partition("=") for text in overrides) if key.lstrip("+~") == option]
    answer = hint(name, option, values[0] if values else "", known)
    return f"{option} is not an option of segnet {name}.{answer or f' See segnet {name} --help'}"


def _missing_choice(error: MissingConfigException) -> str:
    """The error message for an unknown choice of a group: "backbone=resnet51_vd is unknown."."""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    if group and error.options:
        return f"{group}={choice} is unknown.{did_you_mean(choice, [str(option) for option in error.options])}"
    return str(error).splitlines()[0]


def explanation(error: Exception, schema: type, name: str, overrides: Sequence[str]) -> str:
    """Translate an error of Hydra or OmegaConf into segnet's message."""
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
