"""The components: their tables, signatures and docstrings."""

import ast
import importlib
import inspect
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reference_pages.markdown import option_row, table, type_text

import segnet
from segnet.cli.help import CONF_DIR, choices_of

PACKAGE = Path(segnet.__file__).parent
# Where the table of each kind of component stands.
TABLES = {
    "backbone": "segnet.models.backbones:BACKBONES",
    "decoder": "segnet.models.decoders:DECODERS",
    "norm": "segnet.models.norms:NORMS",
    "loss": "segnet.losses:LOSSES",
    "auxiliary_head": "segnet.models.auxiliary:AUXILIARY_HEADS",
    "distillation": "segnet.losses.distillation:DISTILLATIONS",
    "dataset": "segnet.data:DATASETS",
    "logger": "segnet.training.loggers:LOGGERS",
}
ARGUMENT = re.compile(r"^    ([\w*, ]+): ((?:.*\n?)(?:     +.*\n?)*)", flags=re.MULTILINE)


def components_page() -> str:
    parts = [
        "# Components\n",
        "A component is a name and its options. `backbone.name`, `loss.name` and so on name a class; its arguments are "
        "the options. The files of `conf/` give them names and values: "
        "`backbone=resnet101_vd` is `conf/backbone/resnet101_vd.yaml`.\n",
    ]
    contexts = supplied()
    for kind, place in TABLES.items():
        parts.append(f"## {kind}\n")
        if names := choices_of(kind):
            parts.append(f"Choices of `{kind}=`: {', '.join(f'`{name}`' for name in names)}.\n")
        for name, target in components(place).items():
            parts.append(f"### {kind}: `{name}`\n")
            parts.append(component(kind, target, contexts.get(kind, set())))
    parts.append("## task\n\n`task=NAME` says how many classes a pixel has.\n")
    parts += [f"### task: `{name}`\n\n```text\n{header_of('task', name)}\n```\n" for name in choices_of("task")]
    parts.append("## experiment\n\nA recipe sets several choices and options at once: `experiment=NAME`.\n")
    for name in choices_of("experiment"):
        parts.append(f"### experiment: `{name}`\n\n```text\n{header_of('experiment', name)}\n```\n")
    return "\n".join(parts)


def header_of(kind: str, name: str) -> str:
    """The comment at the beginning of a choice."""
    lines = (CONF_DIR / kind / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    header = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in header if "@package" not in line)


def components(place: str) -> Mapping[str, Callable[..., Any]]:
    module, _, name = place.partition(":")
    found: Mapping[str, Callable[..., Any]] = getattr(importlib.import_module(module), name)
    return found


def supplied() -> dict[str, set[str]]:
    """The arguments that the program supplies when it builds a component, by kind: they are not options."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "build":
                continue
            kind = call.args[0]
            if isinstance(kind, ast.Constant):
                found.setdefault(str(kind.value), set()).update(word.arg for word in call.keywords if word.arg)
    return found


def component(kind: str, target: Callable[..., Any], exclude: set[str]) -> str:
    doc = inspect.getdoc(target) or ""
    text = re.split(r"^(?:Args|Attributes|Raises|Returns|Yields):$", doc, maxsplit=1, flags=re.MULTILINE)[0].strip()
    docs = argument_docs(target)
    rows = [
        option_row(f"{kind}.{name}", type_text(parameter.annotation), parameter.default, docs.get(name, ""))
        for name, parameter in inspect.signature(target).parameters.items()
        if name not in exclude and parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    return f"{text}\n\n{table(rows) if rows else 'It has no options.'}\n"


def argument_docs(target: Callable[..., Any]) -> dict[str, str]:
    """The "Args:" of a Google-style docstring, by argument; where it has none, those of bases or of `forwards_to`."""
    found: dict[str, str] = {}
    bases = target.__mro__ if isinstance(target, type) else (target, *getattr(target, "forwards_to", object).__mro__)
    for base in reversed(bases):
        section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", inspect.getdoc(base) or "", flags=re.MULTILINE)
        if section and getattr(base, "__doc__", None):
            for names, text in ARGUMENT.findall(section[1]):
                found.update({name.strip(" *"): " ".join(text.split()) for name in names.split(",")})
    return found
