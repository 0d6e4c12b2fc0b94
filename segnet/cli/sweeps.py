"""Sweeps (`--multirun`): the options of each job, so that all jobs are checked before the first one starts."""

import itertools
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from segnet.cli.foreign_options import in_other_words
from segnet.cli.help import choices_of
from segnet.errors import ConfigError


def jobs_of(overrides: Sequence[str], is_sweep: bool, verb: str) -> Iterator[list[str]]:
    """Yield the overrides of each job: every combination of the values of `lr=0.1,0.2`.

    Args:
        overrides: those of the command line.
        is_sweep: whether --multirun is given; without it there is one job.
        verb: for messages.

    Raises:
        ConfigError: several values without --multirun, or an override that cannot be read.
    """
    values = [_values_of(override, is_sweep, verb) for override in overrides]
    return map(list, itertools.product(*values))


def _values_of(override: str, is_sweep: bool, verb: str) -> list[str]:
    """An override for each value of a sweep; the override itself if it has one value."""
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise ConfigError(f"'{override}' cannot be read: {str(error).splitlines()[0]}; quote it as '...'") from None
    if not parsed.is_sweep_override():
        return [override]
    key, _, value = override.partition("=")
    if not is_sweep:
        name = key.lstrip("+~")
        if answer := in_other_words(verb, name, value):
            raise ConfigError(f"{name} is not an option of segnet {verb}.{answer}")
        raise ConfigError(f'{name}={value}: a list has brackets: "{name}=[{value}]"; --multirun tries each value')
    prefix, group = override[: len(override) - len(override.lstrip("+~"))], parsed.get_key_element().lstrip("+~")
    return [f"{prefix}{group}={text}" for text in _texts_of(parsed, override, group)]


def _texts_of(parsed: Override, override: str, group: str) -> list[str]:
    """The values of a sweep, as text.

    Raises:
        ConfigError: they cannot be listed.
    """
    if isinstance(value := parsed.value(), Glob):
        if names := value.filter(choices_of(group)):
            return names
        raise ConfigError(f"{override}: no choice matches. Choose from: {', '.join(choices_of(group))}.")
    try:
        return list(parsed.sweep_string_iterator())
    except HydraException:
        raise ConfigError(f"{override}: list the values, as in {group}=0.1,0.2") from None


def refuse_in_sweep(composed: DictConfig, own_jobs: bool) -> None:
    """Refuse options that a sweep cannot use.

    Args:
        own_jobs: whether a launcher starts each run as a separate job with its own command line.

    Raises:
        ConfigError: an option for a single run.
    """
    if composed.get("checkpoint") is not None:
        raise ConfigError(f"checkpoint={composed.checkpoint} resumes one run: leave out --multirun")
    devices = composed.trainer.get("devices", 1) if "trainer" in composed else 1
    if devices not in (1, "1", "auto") and not own_jobs:
        raise ConfigError(
            f"trainer.devices={devices}: each of its processes would run the whole sweep again: leave out --multirun, "
            "or use hydra/launcher=submitit_slurm"
        )
