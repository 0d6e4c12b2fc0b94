"""Checks of option values that need neither data nor torch: a wrong value is refused before anything starts."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from segnet.choices import AUGMENT_PRESETS, CLASS_WEIGHT_RULES, NAMES_OF_OPTIONS, TEMPERATURES, YAML_SUFFIXES
from segnet.components import did_you_mean
from segnet.config import OUTPUT_STRIDES, PRECISIONS, Config
from segnet.errors import ConfigError
from segnet.times import parse_budget
from segnet.trainer_arguments import check_trainer_arguments

LARGEST_SEED = 2**32 - 1  # of NumPy's generator


def _is_pair(value: Any) -> bool:
    return len(value) == 2 and min(value) >= 1


def _is_range(value: Any) -> bool:
    return len(value) == 2 and 0 < value[0] <= value[1]


def _is_betas(value: Any) -> bool:
    return len(value) == 2 and all(0 <= beta < 1 for beta in value)


def _at_least(least: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: least <= value < math.inf, f"must be {least:g} or more"


_SEED = (lambda value: 0 <= value <= LARGEST_SEED, f"must be between 0 and {LARGEST_SEED}")
_FRACTION = (lambda value: 0 <= value <= 1, "must be between 0 and 1")
_PROBABILITY = (lambda value: 0 <= value <= 1, "must be a probability between 0 and 1")
_INTERVAL = (lambda value: value > 0, "must be above 0, or null")
NUMBER_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {  # option -> valid values, in a predicate and in words
    "seed": _SEED,
    "dataset.seed": _SEED,
    "dataset.split_seed": _SEED,
    "batch_size": _at_least(1),
    "data.batch_size": _at_least(1),
    "data.num_workers": _at_least(0),
    "data.timeout": _at_least(0),
    "data.flip": _PROBABILITY,
    "data.color_jitter": _FRACTION,
    "data.category_max_ratio": (lambda value: 0 < value <= 1, "must be above 0, up to 1"),
    "data.cutmix": _PROBABILITY,
    "data.cache_size": (lambda value: value > 0, "must be above 0 [GiB]"),
    **{f"optim.{name}": _at_least(0) for name in ("lr", "backbone_lr_factor", "weight_decay", "power", "min_lr")},
    "optim.warmup_steps": _at_least(0),
    "optim.batch_size": _at_least(1),
    "optim.momentum": (lambda value: 0 <= value < 1, "must be 0 or more, and below 1"),
    "optim.layer_decay": (lambda value: 0 < value <= 1, "must be above 0, and at most 1"),
    "ema.decay": (lambda value: 0 <= value < 1, "must be in [0, 1): the fraction of the average kept; 0: no EMA"),
    "early_stopping.patience": (lambda value: value >= 1, "must be 1 or more validations"),
    "early_stopping.min_delta": _at_least(0),
    "checkpoint_every": _INTERVAL,
    "checkpoint_minutes": _INTERVAL,
    "validation.window": (lambda value: value >= 1, "must be 1 or more pixels, or null"),
    "validation.overlap": (lambda value: 0 <= value <= 0.9, "must be a fraction of a window, 0 to 0.9"),
}
LIST_CHECKS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("data.crop_size", "dataset.window"), (_is_pair, "must be [height, width], each 1 or more")),
    **{name: (lambda value: len(value) == 2, "must be [height, width]") for name in ("image_size", "dataset.size")},
    "data.scale_range": (_is_range, "must be [smallest, largest], both above 0"),
    "optim.betas": (_is_betas, "must be two numbers in [0, 1)"),
}


def check_values(config: Any) -> None:
    """Check the values of a configuration of any verb, as far as they need no data.

    Raises:
        ConfigError: a value out of its range, an unknown name, or a list of the wrong length.
    """
    values = dict(_dotted_values(config))
    for name, value in values.items():
        is_list = isinstance(value, list | tuple)
        if not all(_is_comparable(item) for item in (value if is_list else [value])):
            continue  # null, or a value that another check refuses
        is_valid, words = (LIST_CHECKS if is_list else NUMBER_CHECKS).get(name, (None, ""))
        if is_valid is not None and not is_valid(value):
            raise ConfigError(f"{name}={list(value) if is_list else value} {words}")
    _check_names(values)
    trainer = getattr(config, "trainer", {})
    if isinstance(config, Config):
        _check_choices(config)
        check_trainer_arguments(trainer)
        _check_length(config)
    else:  # max_epochs: dataset=shapes sets it
        check_trainer_arguments({key: trainer[key] for key in trainer if key != "max_epochs"}, evaluates=True)


def _dotted_values(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted options of a configuration with their values, those in sections too."""
    for option in dataclasses.fields(config):
        value = getattr(config, option.name)
        if dataclasses.is_dataclass(value):
            yield from _dotted_values(value, f"{prefix}{option.name}.")
        elif isinstance(value, dict):
            yield from ((f"{prefix}{option.name}.{key}", item) for key, item in value.items())
        else:
            yield prefix + option.name, value


def _is_comparable(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_names(values: Mapping[str, Any]) -> None:
    """Check the names of components and kinds.

    Args:
        values: dotted option -> value.
    """
    for option, names in NAMES_OF_OPTIONS.items():
        if isinstance(value := values.get(option), str) and value not in names:
            raise ConfigError(f"{option}={value} is unknown.{did_you_mean(value, names)}")
    if isinstance(terms := values.get("loss.terms"), Mapping):
        check_loss_terms(terms)
    if isinstance(rule := values.get("loss.class_weight"), str):
        check_class_weight_rule("loss", rule)
    check_augment(values.get("data.augment"))
    calibration_kind(values.get("calibrate"))


def check_loss_terms(terms: Mapping[str, Any]) -> None:
    """Check the names of the losses in a weighted sum.

    Args:
        terms: name of a loss -> its options.

    Raises:
        ConfigError: an unknown name.
    """
    for name in terms:
        if name not in NAMES_OF_OPTIONS["loss.name"]:
            raise ConfigError(f"loss.terms.{name} is unknown.{did_you_mean(str(name), NAMES_OF_OPTIONS['loss.name'])}")


def check_class_weight_rule(where: str, rule: str) -> None:
    """Check the name of a rule for class weights.

    Args:
        where: the section with the option, such as "loss".

    Raises:
        ConfigError: an unknown name.
    """
    if rule not in CLASS_WEIGHT_RULES:
        raise ConfigError(
            f"{where}.class_weight={rule} is unknown: choose a rule, or give a list of one number per class."
            f"{did_you_mean(rule, CLASS_WEIGHT_RULES)}"
        )


def check_augment(augment: Any) -> None:
    """Check the name of an augmentation preset; lists, files and null pass.

    Raises:
        ConfigError: an unknown name.
    """
    if isinstance(augment, str) and augment not in AUGMENT_PRESETS and not augment.endswith(YAML_SUFFIXES):
        raise ConfigError(
            f"data.augment={augment} is unknown.{did_you_mean(augment, AUGMENT_PRESETS)} Own transforms are a list: "
            '"data.augment=[{name:GaussNoise,p:0.3}]", or its YAML file'
        )


def calibration_kind(value: object) -> str | None:
    """The kind of temperature that the option calibrate asks for; None: none.

    Raises:
        ConfigError: an unknown value.
    """
    text = str(value).lower()
    if value is None or text == "false":
        return None
    if text == "true":  # --calibrate without a value
        return "global"
    if text not in TEMPERATURES:
        raise ConfigError(f"calibrate={value} must be {', '.join(TEMPERATURES)} or null")
    return text


def _check_choices(config: Config) -> None:
    for name, choices in (("output_stride", OUTPUT_STRIDES), ("precision", PRECISIONS)):
        value = getattr(config, name)
        if value not in choices:
            raise ConfigError(f"{name}={value} is unknown: choose from {', '.join(map(str, choices))}")


def _check_length(config: Config) -> None:
    """Check the length of a run: `max_epochs`, `max_steps`, `budget`."""
    for name in ("max_epochs", "max_steps"):
        value = config.trainer.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1) and value != -1:
            raise ConfigError(f"trainer.{name}={value} must be a whole number, 1 or more")
    if config.budget is not None:
        parse_budget(config.budget)
        return
    given = {name: config.trainer.get(name) for name in ("max_epochs", "max_steps")}
    if -1 in given.values() and not set(given.values()) - {-1, None}:
        options = " ".join(f"trainer.{name}=-1" for name, value in given.items() if value)
        raise ConfigError(f"{options}: the run would never end: set trainer.max_epochs or trainer.max_steps")
