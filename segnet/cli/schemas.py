"""Schemas for Hydra, and the part of a composed configuration for each verb.

The choices in conf/ are made for train: dataset=shapes sets options of `optim` and `trainer` too. Hydra therefore
composes each verb with all sections of train. The verb gets the fields of its own dataclass.
"""

import copy
import dataclasses
from functools import partial
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from segnet.cli.help import CONF_DIR, default_of, option_names
from segnet.config import Config
from segnet.option_values import check_values
from segnet.verb_config import InspectConfig

T = TypeVar("T")


def schema_node(schema: type) -> type:
    """Return the dataclass that Hydra composes a verb against.

    It has the options of the verb, and all other options of train. Options with choices in conf/ are empty: a choice
    would be merged with their default.
    """
    types: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for source in (Config, schema):
        for option in dataclasses.fields(source):
            if not dataclasses.is_dataclass(types.get(option.name)):  # a verb's section may have fewer options
                types[option.name], defaults[option.name] = option.type, default_of(option)
            if isinstance(defaults[option.name], dict) and (CONF_DIR / option.name).is_dir():
                defaults[option.name] = {}
    return dataclasses.make_dataclass(
        schema.__name__,
        [
            (name, types[name], dataclasses.field(default_factory=partial(copy.deepcopy, default)))
            for name, default in defaults.items()
        ],
        kw_only=True,
    )


def narrowed(tree: DictConfig, schema: type[T]) -> T:
    """Return the fields of a dataclass out of a composed configuration, as plain Python objects.

    Raises:
        ConfigError: a value out of its range.
    """
    config = _section(tree, schema)
    check_values(config)
    return config


def _section(tree: DictConfig, schema: type[T]) -> T:
    values = {}
    for option in dataclasses.fields(schema):  # type: ignore[arg-type]  # all schemas are dataclasses
        value = tree[option.name]
        if isinstance(option.type, type) and dataclasses.is_dataclass(option.type):
            value = _section(value, option.type)
        elif OmegaConf.is_config(value):
            value = OmegaConf.to_container(value, resolve=True)
        values[option.name] = value
    return schema(**values)


def accepted(schema: type) -> set[str]:
    """The options that a verb accepts on its command line: `segnet inspect` accepts those of train too."""
    return set(option_names(schema_node(schema) if schema is InspectConfig else schema))
