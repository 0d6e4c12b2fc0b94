"""`--help` of the verbs that use Hydra, generated from the dataclasses of options without importing Hydra."""

import ast
import dataclasses
import inspect
import itertools
import shutil
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import segnet
from segnet.components import as_typed
from segnet.config import Config
from segnet.verb_config import (
    AverageConfig,
    BenchmarkConfig,
    CompareConfig,
    CrossvalConfig,
    DoubtConfig,
    EvaluateConfig,
    InspectConfig,
    RankConfig,
    ShardConfig,
)

SCHEMAS: dict[str, Any] = {
    "train": Config,
    "crossval": CrossvalConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "doubt": DoubtConfig,
    "average": AverageConfig,
    "rank": RankConfig,
    "inspect": InspectConfig,
    "shard": ShardConfig,
    "benchmark": BenchmarkConfig,
}
ALL_OF_TRAIN = ("train", "crossval", "inspect")  # verbs that accept all options of a training
PACKAGE = Path(segnet.__file__).parent
# conf/ is next to the package in a checkout, and inside the package in a wheel.
CONF_DIR = next((path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir()), PACKAGE / "conf")
USAGE = {
    "train": "segnet train [option=value ...]",
    "crossval": "segnet crossval [folds=5] [option=value ...]",
    "evaluate": "segnet evaluate CHECKPOINT dataset=NAME [option=value ...]",
    "compare": "segnet compare A B [option=value ...], or with seeds: segnet compare A1 A2 A3 -- B1 B2 B3",
    "doubt": "segnet doubt CROSSVAL_FOLDER | CHECKPOINT [option=value ...]",
    "average": "segnet average CHECKPOINT CHECKPOINT ... [option=value ...]",
    "rank": "segnet rank FOLDER --checkpoint CHECKPOINT [number=20] [option=value ...]",
    "inspect": "segnet inspect dataset=NAME [option=value ...]",
    "shard": "segnet shard dataset=NAME output=FOLDER [option=value ...]",
    "benchmark": "segnet benchmark [CHECKPOINT | backbone=NAME ...] [option=value ...]",
}
SWITCH_HELP = {
    "--multirun": "run a sweep: each value of lists such as optim.lr=0.01,0.02",
    "--cfg job": "print the configuration and stop",
    "--config-dir FOLDER": "add a folder with choices of your own, such as FOLDER/experiment/mine.yaml",
}
WIDEST_NAME = 34


def print_help(verb: str) -> None:
    """Print the help of a verb in the width of the terminal."""
    width = min(120, shutil.get_terminal_size((100, 24)).columns)
    print("\n".join(help_lines(verb, width)))


def help_lines(verb: str, width: int = 100) -> Iterator[str]:
    """The help of a verb, line by line: usage, choices, options by section, switches.

    Args:
        verb: one of `SCHEMAS`.
        width: width of the terminal [characters].
    """
    schema = SCHEMAS[verb]
    fields = dataclasses.fields(schema)
    yield f"usage: {USAGE[verb]}"
    yield ""
    yield from textwrap.wrap(first_sentences(schema), width)
    yield 'Options are written name=value or --name value; lists have brackets: "data.crop_size=[512,512]".'
    choices = {field.name: choices_of(field.name) for field in fields if choices_of(field.name)}
    if "dataset" in choices:
        choices["task"] = choices_of("task")
        choices["experiment"] = choices_of("experiment") if verb in ALL_OF_TRAIN else []
    yield ""
    yield "choices"
    for name, values in choices.items():
        if values:
            yield from _entry(f"{name}=", ", ".join(values), width)
    yield "  The options of each choice: page Components of the documentation (mkdocs serve)."
    sections = [field for field in fields if dataclasses.is_dataclass(field.type)]
    yield from _options("options", schema, [field for field in fields if field not in sections], "", width)
    for field in sections:
        inner = dataclasses.fields(field.type)  # type: ignore[arg-type]  # the sections are dataclasses
        yield from _options(f"{field.name}: {inspect.getdoc(field.type)}", field.type, inner, f"{field.name}.", width)
    yield ""
    yield "switches"
    for name, text in SWITCH_HELP.items():
        yield from _entry(name, text, width)


def _options(title: str, schema: Any, fields: Any, prefix: str, width: int) -> Iterator[str]:
    yield ""
    yield from textwrap.wrap(title, width, subsequent_indent="  ")
    docs = field_docs(schema)
    for field in fields:
        yield from _entry(f"{prefix}{field.name}{_default(field)}", docs.get(field.name, ""), width)


def _entry(name: str, text: str, width: int) -> Iterator[str]:
    indent = " " * (WIDEST_NAME + 4)
    lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent) or [""]
    if len(name) <= WIDEST_NAME:
        lines[0] = f"  {name:{WIDEST_NAME}s}  {lines[0].strip()}".rstrip()
    else:
        lines.insert(0, f"  {name}")
    yield from lines


def _default(field: Any) -> str:
    """The default in the command line's syntax; empty for a section that is a choice."""
    value = default_of(field)
    if isinstance(value, dict) or value is dataclasses.MISSING:
        return ""
    if value == "???":
        return "=..."
    return f"={as_typed(value)}"


def default_of(field: Any) -> Any:
    """The default of a dataclass field; `dataclasses.MISSING` without one."""
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default


def choices_of(group: str) -> list[str]:
    """The names of the files in conf/`group`, without suffix."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml") if not path.stem.startswith("_"))


def first_sentences(schema: Any) -> str:
    """The docstring of a dataclass on one line."""
    return " ".join((inspect.getdoc(schema) or "").split())


def option_names(schema: Any, prefix: str = "") -> Iterator[str]:
    """All dotted options of a dataclass; an open section counts as one."""
    for option in dataclasses.fields(schema):
        yield prefix + option.name
        if isinstance(option.type, type) and dataclasses.is_dataclass(option.type):
            yield from option_names(option.type, f"{prefix}{option.name}.")


@cache
def field_docs(schema: Any) -> dict[str, str]:
    """The strings below the fields of a dataclass and of its bases, by field name."""
    found: dict[str, str] = {}
    bases: list[Any] = [base for base in schema.__mro__ if dataclasses.is_dataclass(base)]
    for base in reversed(bases):
        tree = ast.parse(Path(inspect.getfile(base)).read_text(encoding="utf-8"))
        body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == base.__name__)
        for field, text in itertools.pairwise(body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[field.target.id] = " ".join(inspect.cleandoc(str(text.value.value)).split())
    return found
