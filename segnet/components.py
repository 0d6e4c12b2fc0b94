"""Builds components from specs: a spec is ``{"name": ..., **keyword arguments}``, looked up in one table per kind.

The class signature is the schema: there is nothing else to keep in step with it.
"""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from segnet.errors import ConfigError

T = TypeVar("T")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """The sentence to append to an error about an unknown `word`: the nearest choice, if any, and all choices."""
    choices = sorted(choices)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{hint} Choose from: {', '.join(choices)}."


def build(kind: str, table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], **context: Any) -> T:
    """Builds the component that `spec` names.

    Args:
        kind: what is built, as the user writes it in an option ("backbone").
        table: name -> class.
        spec: ``{"name": name, **options}``.
        **context: arguments that the program supplies, such as the channels of the backbone: not options.

    Raises:
        ConfigError: the name, or an option, is unknown or missing.
    """
    options = {key: value for key, value in spec.items() if key != "name"}
    name = spec.get("name")
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"{kind}.name={name} is unknown.{did_you_mean(str(name), table)}")
    parameters = inspect.signature(table[name]).parameters
    allowed = [key for key in parameters if key not in context]
    for key in options:
        if key not in allowed:
            raise ConfigError(f"{kind}.{key} is not an option of {kind} '{name}'.{did_you_mean(key, allowed)}")
    for key in allowed:
        if parameters[key].default is inspect.Parameter.empty and options.get(key) is None:
            raise ConfigError(f"{kind}.{key} is not set, and {kind} '{name}' needs it: add {kind}.{key}=...")
    return table[name](**options, **context)
