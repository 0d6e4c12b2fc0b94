"""One option syntax for every verb: `name=value`, `--name value`, and a positional checkpoint or dataset folder.

Hydra reads `name=value`, argparse reads `--name value`. Each verb accepts both, and this module translates between
them. For an option of another tool it suggests segnet's option.
"""

import argparse
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from segnet.cli.folder_options import folder_options
from segnet.cli.foreign_options import in_other_words
from segnet.cli.help import ALL_OF_TRAIN
from segnet.components import as_typed, nearest
from segnet.errors import ConfigError
from segnet.weights.zoo import PUBLISHED_MODELS, stands_for_model

SWITCHES = {"--help", "-h", "--hydra-help", "--version", "--info", "--multirun", "-m", "--run", "-r", "--resolve"}
SWITCHES |= {"--shell-completion", "-sc"}
SWITCHES_WITH_VALUE = {"--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c"}
SWITCHES_WITH_VALUE |= {"--package", "-p", "--experimental-rerun"}
MODEL_SUFFIXES = {".ckpt", ".onnx", ".xml", ".pt2", ".safetensors"}
RUN_CHECKPOINTS = ("best.ckpt", "last.ckpt")  # of a run folder
PAIRS = {"data.crop_size", "image_size", "dataset.size", "dataset.window"}  # [height, width], or one number for both
WHOLE_NUMBER = re.compile(r"-?\d+")
BY_CLASS_OPTIONS = ("threshold", "min_area")  # text such as disk=0.3,ring=0.6, in one or several occurrences
QUOTE_SIGNS = ("'", '"')
SPELLINGS = {"unlabelled": "unlabeled"}  # other spellings of options -> segnet's


def hint(verb: str, word: str, value: str, known: Iterable[str]) -> str:
    """Suggest an option for an unknown one: by another tool's name, by its last part, or the nearest name."""
    known = sorted(known)
    if answer := in_other_words(verb, word, value):
        return answer
    leaves = [name for name in known if name.rpartition(".")[2] == word.rpartition(".")[2]]
    if leaves:
        return f" Did you mean {' or '.join(repr(name) for name in leaves[:3])}?"
    return nearest(word, known) or nearest(word, {name.rpartition(".")[2] for name in known})


def to_overrides(verb: str, schema: type, arguments: Sequence[str]) -> list[str]:
    """Translate a command line into Hydra's syntax.

    Args:
        verb: name of the verb ("train").
        schema: dataclass of the verb's options; boolean options need no value.
        arguments: `name=value`, `--name value`, `--name=value`, a positional checkpoint, the folder of a dataset
            (train, crossval, inspect), the sides to compare or images to rank, Hydra's switches.

    Raises:
        ConfigError: an argument of any other form, or several folders.
    """
    positional: list[str] = []
    names = [field.name for field in dataclasses.fields(schema)]
    overrides = list(_translated(verb, set(_flags(schema)), names, arguments, positional))
    if verb in ("evaluate", "doubt", "average", "rank"):
        overrides = _one_ensemble(overrides)
    if verb == "evaluate":
        overrides = _quoted_by_class(overrides)
    if verb == "rank":
        overrides += _images_in(positional, overrides)
    else:
        overrides += _sides_in(positional) if verb == "compare" else _dataset_in(positional, overrides)
    return [*overrides, *folder_options(overrides)]


def _one_ensemble(overrides: Sequence[str]) -> list[str]:
    """The overrides with all checkpoints in one list: `a.ckpt --checkpoint b.ckpt` is checkpoint=[a.ckpt,b.ckpt]."""
    prefix = "checkpoint="
    named = [override.removeprefix(prefix) for override in overrides if override.startswith(prefix)]
    if len(named) < 2:
        return list(overrides)
    files = [name[1:-1] if name.startswith("[") and name.endswith("]") else name for name in named]
    return [*(word for word in overrides if not word.startswith(prefix)), f"{prefix}[{','.join(files)}]"]


def _quoted_by_class(overrides: Sequence[str]) -> list[str]:
    """The overrides with all values by class as one text: Hydra would read the commas as choices."""
    given: dict[str, list[str]] = {}
    others = []
    for override in overrides:
        name, _, value = override.partition("=")
        if name not in BY_CLASS_OPTIONS or value.startswith(("{", *QUOTE_SIGNS)) or value == "null":
            others.append(override)
        else:
            given.setdefault(name, []).append(value[1:-1] if value.startswith("[") and value.endswith("]") else value)
    return [*others, *(f"{name}={as_typed(','.join(values))}" for name, values in given.items())]


def _translated(
    verb: str, flags: set[str], names: Sequence[str], arguments: Sequence[str], positional: list[str]
) -> Iterator[str]:
    """The overrides for all arguments except folders of datasets and sides to compare, appended to `positional`."""
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        switch = argument.partition("=")[0]
        if switch in SWITCHES or (switch in SWITCHES_WITH_VALUE and "=" in argument):
            yield argument
        elif switch in SWITCHES_WITH_VALUE:
            yield argument
            yield from waiting[:1]
            del waiting[:1]
        elif verb == "compare" and (argument == "--" or Path(argument).exists()):
            positional.append(argument)
        elif argument.startswith("--"):
            name, sign, value = argument[2:].partition("=")
            name = name.replace("-", "_")
            values = [value] if sign else []
            while not sign and waiting and _is_value(waiting[0], name, name in flags, bool(values)):
                values.append(waiting.pop(0))
            yield _override(verb, name, values)
        elif "=" in argument and not Path(argument).is_file():
            yield _widened(argument)
        elif argument.startswith("~"):
            yield argument
        elif verb == "compare":
            positional.append(argument)
        elif not _is_model(argument) and (verb == "rank" or (verb in ALL_OF_TRAIN and Path(argument).is_dir())):
            _refuse_run_folder(verb, Path(argument))
            positional.append(argument)
        else:
            yield _by_position(verb, names, argument)


def _dataset_in(folders: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The overrides for a positional folder: dataset=folder reads it if no other reader is named.

    Raises:
        ConfigError: several folders.
    """
    if not folders:
        return []
    roots = [override.partition("=")[2] for override in overrides if override.startswith("dataset.root=")]
    if len(given := [*folders, *roots]) > 1:
        raise ConfigError(f"{given[1]}: a dataset has one folder, and {given[0]} is given too: name one of them")
    is_named = any(override.startswith("dataset=") for override in overrides)
    return [*([] if is_named else ["dataset=folder"]), f"dataset.root={as_typed(folders[0])}"]


def _images_in(paths: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The override for positional folders, globs and images to rank.

    Raises:
        ConfigError: the option images names others.
    """
    if paths and any(override.startswith("images=") for override in overrides):
        raise ConfigError(f"{paths[0]}: images=... names the images, too: name all of them in one way")
    return [f"images=[{','.join(map(as_typed, paths))}]"] if paths else []


def _sides_in(paths: Sequence[str]) -> list[str]:
    """The overrides for positional checkpoints: two, or the seeds of two recipes with `--` between them.

    Raises:
        ConfigError: they are not two sides.
    """
    if not paths:
        return []
    middle = paths.index("--") if "--" in paths else 0
    sides = [paths[:middle], paths[middle + 1 :]] if middle else [[path] for path in paths]
    if len(sides) != 2 or not all(sides) or "--" in sides[0] or "--" in sides[1]:
        raise ConfigError(
            f"compare {' '.join(paths)}: name two checkpoints, or several seeds of both recipes with -- between them: "
            "segnet compare A1 A2 A3 -- B1 B2 B3"
        )
    return [f"{name}=[{','.join(map(as_typed, side))}]" for name, side in zip(("first", "second"), sides, strict=True)]


def _is_value(argument: str, name: str, is_flag: bool, is_second: bool) -> bool:
    """Whether an argument belongs to the `--name` before it."""
    if name == "resume":
        return argument.endswith(".ckpt") and not is_second
    if is_flag:
        return argument.lower() in ("true", "false", "yes", "no", "on", "off")
    if name in BY_CLASS_OPTIONS:
        return not is_second and not argument.startswith("--")
    if is_second:  # a list, as in --scales 0.75 1.0 1.25
        return re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", argument) is not None
    return not argument.startswith("--") and ("=" not in argument or "/" in argument.partition("=")[0])


def _override(verb: str, name: str, values: Sequence[str]) -> str:
    if name == "resume" and verb in ("train", "crossval"):
        return f"checkpoint={as_typed(values[0])}" if values and values[0].endswith(".ckpt") else "checkpoint=auto"
    if len(values) > 1:
        return f"{name}=[{','.join(values)}]"
    return _widened(f"{name}={values[0] if values else 'true'}")


def _widened(override: str) -> str:
    """Expand one number to [height, width], and one path to a list; correct the spelling of the option."""
    name, _, value = override.partition("=")
    name = SPELLINGS.get(name, name)
    if name in ("unlabeled", "images") and value not in ("", "null") and not value.startswith("[") and "," not in value:
        return f"{name}=[{value if value[0] in QUOTE_SIGNS else as_typed(value)}]"
    return (
        f"{name}=[{value},{value}]"
        if name.lstrip("+") in PAIRS and WHOLE_NUMBER.fullmatch(value)
        else f"{name}={value}"
    )


def _by_position(verb: str, names: Sequence[str], argument: str) -> str:
    """The override for a positional checkpoint.

    Raises:
        ConfigError: the verb takes no checkpoint, or the argument is not a model file.
    """
    if _is_model(argument) and verb in ("evaluate", "benchmark", "doubt", "average", "rank"):
        return f"checkpoint={as_typed(argument)}"
    if stands_for_model(argument) and verb == "train":
        raise ConfigError(f"{argument}: init_from={argument} fine-tunes that model")
    if Path(argument).suffix == ".ckpt" and verb == "train":
        raise ConfigError(f"{argument}: checkpoint={argument} resumes that run, init_from={argument} fine-tunes it")
    if verb == "doubt" and (Path(argument) / "folds.json").is_file():
        return f"crossval={as_typed(argument)}"
    _refuse_run_folder(verb, Path(argument))
    if Path(argument).is_dir() and "dataset" in names:
        raise ConfigError(f"{argument}: write dataset=folder dataset.root={argument}, or see --help for other layouts")
    answer = in_other_words(verb, argument)
    if not answer and verb in ("evaluate", "benchmark"):
        answer = nearest(argument, [model.name for model in PUBLISHED_MODELS])
    raise ConfigError(f"'{argument}' is not an option: write option=value, or see --help.{answer}")


def _is_model(argument: str) -> bool:
    """Whether an argument is a checkpoint, an exported model or the name of a published one."""
    return Path(argument).suffix in MODEL_SUFFIXES or stands_for_model(argument)


def _refuse_run_folder(verb: str, folder: Path) -> None:
    """Raises:
    ConfigError: the folder is that of a run, not of a dataset; the message names its checkpoints.
    """
    checkpoints = [path for name in RUN_CHECKPOINTS if (path := folder / name).is_file()]
    if not checkpoints or not (folder / "config.yaml").is_file():
        return
    best, last = checkpoints[0], checkpoints[-1]
    answers = {
        "train": f"checkpoint={last} resumes it, init_from={best} fine-tunes its model",
        "inspect": "name the folder of its dataset",
    }
    raise ConfigError(f"{folder} is the folder of a run: {answers.get(verb, f'write checkpoint={best}')}")


def to_options(arguments: Sequence[str], actions: Mapping[str, argparse.Action]) -> list[str]:
    """Translate `name=value` into `--name value` for argparse; other arguments stay unchanged.

    Args:
        actions: the parser's actions by option string.
    """
    translated: list[str] = []
    lists: list[str] = []
    for argument in arguments:
        parts = _to_option(argument, actions)
        (lists if len(parts) > 1 else translated).extend(parts)
    return [*translated, *lists]  # lists last: argparse gives them all following arguments


def _to_option(argument: str, actions: Mapping[str, argparse.Action]) -> list[str]:
    name, sign, value = argument.partition("=")
    option = f"--{name.replace('_', '-')}"
    if not sign or name.startswith("-") or option not in actions or Path(argument).is_file():
        return [argument]
    action = actions[option]
    if action.nargs == 0:
        if value.lower() not in ("true", "false"):
            raise ConfigError(f"{argument}: must be {name}=true or {name}=false")
        return [option] if value.lower() == "true" else []
    if value.startswith("[") and value.endswith("]"):
        items = [item.strip() for item in value[1:-1].split(",")]
        return [option, *items] if action.nargs == "+" else [f"{option}={','.join(items)}"]
    return [f"{option}={value}"]


def _flags(schema: type, prefix: str = "") -> Iterator[str]:
    """The dotted names of all boolean options of a dataclass."""
    for field in dataclasses.fields(schema):
        if field.type in (bool, bool | None):
            yield prefix + field.name
        elif isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from _flags(field.type, f"{prefix}{field.name}.")
