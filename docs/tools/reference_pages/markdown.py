"""Tables and values in Markdown."""

import dataclasses
import inspect
import re
from typing import Any

from segnet.cli.help import default_of, field_docs


def option_table(schema: Any, fields: Any, prefix: str = "") -> str:
    docs = field_docs(schema)
    rows = [
        option_row(prefix + field.name, type_text(field.type), default_of(field), docs.get(field.name, ""))
        for field in fields
    ]
    return table(rows)


def option_row(name: str, kind: str, default: Any, text: str) -> tuple[str, str]:
    """A row of a table of options: the type and the default stand below the name, where a phone has room for them."""
    value = default_text(default)
    return f"`{name}`<br><small>{kind}, {value if value == 'required' else f'default {value}'}</small>", escaped(text)


def table(rows: list[Any], head: tuple[str, ...] = ("option", "what it does")) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(cell(text) for text in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text of the code as Markdown: brackets would be taken for links."""
    return text.replace("[", "\\[").replace("<", "&lt;")


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def type_text(annotation: Any) -> str:
    """An annotation as users write values: "int or null"."""
    plain = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    text = annotation.__name__ if plain else str(annotation)
    text = re.sub(r"\b(?:typing|collections\.abc)\.", "", text)
    text = re.sub(r"\bSequence\b|\btuple\b", "list", text)
    text = re.sub(r"\b(?:Mapping|dict)\[.*?\]+", "mapping", text).replace("dict", "mapping")
    return text.replace("NoneType", "null").replace("None", "null").replace(" | ", " or ")


def default_text(value: Any) -> str:
    if value in (dataclasses.MISSING, inspect.Parameter.empty, "???"):
        return "required"
    if value is None:
        return "`null`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    if isinstance(value, dict):
        return f"`{{{', '.join(f'{key}: {item}' for key, item in value.items())}}}`" if value else "by choice"
    return f"`{value}`" if value != "" else "empty"
