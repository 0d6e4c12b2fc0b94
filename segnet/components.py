"""Build components from specs. A spec is ``{"name": ..., **keyword arguments}``; each kind has a table of names.

The signature of the class is the schema of its options.
"""

import copy
import difflib
import inspect
import re
import shlex
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from segnet.errors import ConfigError

T = TypeVar("T")


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return the end of an error about an unknown word: the nearest choice, if any, and all choices."""
    choices = sorted(choices)
    return f"{nearest(word, choices)} Choose from: {', '.join(choices)}."


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return " Did you mean '...'?" with the choice nearest to a word; empty if none is near."""
    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def build(kind: str, table: Mapping[str, Callable[..., T]], spec: Mapping[str, Any], **context: Any) -> T:
    """Build the component that a spec names.

    Args:
        kind: section of the configuration ("backbone").
        table: name -> class.
        spec: ``{"name": name, **options}``.
        **context: arguments that are not options, such as the channels of the backbone.

    Raises:
        ConfigError: the name, or an option, is unknown or missing.
    """
    options = {key: value for key, value in spec.items() if key != "name"}
    name = spec.get("name")
    if not isinstance(name, str) or name not in table:
        raise ConfigError(f"{kind}.name={name} is unknown.{did_you_mean(str(name), table)}")
    check_options(kind, f"{kind} '{name}'", table[name], options, exclude=context, others=table)
    return table[name](**options, **context)


def complete(table: Mapping[str, Callable[..., Any]], spec: Mapping[str, Any], **shared: Any) -> dict[str, Any]:
    """Return a spec with all options of its component, as builtins.

    Args:
        table: name -> class.
        spec: ``{"name": name, **options}``; an unknown name is left to `build`.
        **shared: options that several components share; they replace the defaults of those that take them.
    """
    target = table.get(str(spec.get("name")))
    if target is None:
        return dict(spec)
    parameters = inspect.signature(target).parameters
    options = {key: value.default for key, value in parameters.items() if value.default is not value.empty}
    options |= {key: value for key, value in shared.items() if key in parameters}
    plain = {key: list(value) if isinstance(value, tuple) else copy.deepcopy(value) for key, value in options.items()}
    return {**plain, **spec}


def check_options(
    kind: str,
    owner: str,
    target: Callable[..., Any],
    options: Mapping[str, Any],
    exclude: Iterable[str] = (),
    others: Mapping[str, Callable[..., Any]] | None = None,
) -> None:
    """Check options against the signature of their component.

    Args:
        kind: the section of the configuration ("backbone").
        owner: whose options they are, in words ("backbone 'resnet'").
        target: class or function.
        exclude: its arguments that are not options.
        others: components of the same kind, by name: one of them may have the option.

    Raises:
        ConfigError: an option that is unknown, missing, or of another type.
    """
    parameters = inspect.signature(target).parameters
    allowed = [key for key in parameters if key not in exclude]
    for key, value in options.items():
        if key not in allowed:
            other = "" if nearest(key, allowed) else _owner_of(key, kind, others or {}, exclude)
            removal = f": remove it with ~{kind}.{key}." if other else "."  # an experiment may have set it
            choices = did_you_mean(key, allowed) if allowed else " It has no options."
            raise ConfigError(f"{kind}.{key} is not an option of {owner}{other}{removal}{choices}")
        annotation = parameters[key].annotation
        if not _fits(value, annotation):
            wanted = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
            hint = f": write {kind}.{key}=\"'{value}'\"" if annotation is str else ""
            raise ConfigError(f"{kind}.{key}={value} has the wrong type: {owner} takes {wanted.split('.')[-1]}{hint}")
    for key in allowed:
        if parameters[key].default is inspect.Parameter.empty and options.get(key) is None:
            raise ConfigError(f"{kind}.{key} is not set, and {owner} needs it: add {kind}.{key}=...")


def _owner_of(key: str, kind: str, others: Mapping[str, Callable[..., Any]], exclude: Iterable[str]) -> str:
    """A clause that names a component with this option or a similar one; empty without one."""
    options = {
        name: [option for option in inspect.signature(target).parameters if option not in exclude]
        for name, target in others.items()
    }
    near = difflib.get_close_matches(key, {option for known in options.values() for option in known}, n=1, cutoff=0.8)
    owners = [name for name, known in options.items() if near and near[0] in known]
    if not owners:
        return ""
    more = f" and {len(owners) - 1} others have" if len(owners) > 2 else f" and '{owners[-1]}' have"
    return f"; {kind} '{owners[0]}'{more if len(owners) > 1 else ' has'} '{near[0]}'"


def forwards_to(
    target: Callable[..., Any], without: Collection[str] = ()
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Decorate a function that forwards its ``**options`` to `target`, so that its signature lists them.

    Args:
        target: class or function with these options as parameters.
        without: parameters of `target` that are not forwarded.
    """
    passed_on = [parameter for name, parameter in inspect.signature(target).parameters.items() if name not in without]

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        own = inspect.signature(function)
        named = [parameter for parameter in own.parameters.values() if parameter.kind is not parameter.VAR_KEYWORD]
        parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*passed_on, *named)]
        vars(function).update(__signature__=own.replace(parameters=parameters), forwards_to=target)
        return function

    return decorate


def as_typed(value: Any) -> str:
    """Format a value as the command line takes it: null, true, 0.01, [512,512], 'a b'."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(as_typed, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_typed(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str) and not re.fullmatch(r"[\w./:+-]+|\?\?\?", value):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"  # commas, braces and blanks have a meaning in Hydra's grammar
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def as_options(values: Mapping[str, Any]) -> str:
    """Format options for a shell: "data.batch_size=8 'data.crop_size=[64,64]'"."""
    return " ".join(shlex.quote(f"{name}={as_typed(value)}") for name, value in values.items())


def are_numbers(values: object) -> bool:
    """Whether a value of a file is a list of numbers."""
    return isinstance(values, list | tuple) and all(type(value) in (int, float) for value in values)


def _fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a configuration fits an annotation; only annotations of plain values and lists are checked."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_fits(value, argument) for argument in arguments)
    if annotation in (None, types.NoneType):
        return value is None
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if origin in (Sequence, list, tuple):
        return isinstance(value, list | tuple) and all(_fits(item, arguments[0]) for item in value)
    return True
