"""Tab completion for bash: verbs, options and choices, without Hydra and torch.

Hydra's own completion knows no verbs, and composes a configuration at each key.
"""

import argparse
import dataclasses
import os
from collections.abc import Iterator, Sequence

from segnet.cli.arguments import verb_parser
from segnet.cli.help import ALL_OF_TRAIN, SCHEMAS, SWITCH_HELP, choices_of
from segnet.errors import ConfigError

COMPLETION_SWITCHES = ("--shell-completion", "-sc")
# bash treats "=" as a word separator, and replaces only the text after it.
SCRIPT = """\
_segnet() {
    local IFS=$'\\n' word="${COMP_LINE:0:$COMP_POINT}"
    word="${word##* }"
    COMPREPLY=($(COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" segnet --shell-completion query 2>/dev/null))
    if [[ "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
}
complete -o nospace -o default -F _segnet segnet"""


def run_completion(arguments: Sequence[str], verbs: Sequence[str]) -> None:
    """Print the script for a shell, or the completions that the script asks for.

    Args:
        arguments: "bash" or "install=bash"; "query" with the command line in $COMP_LINE and its cursor in $COMP_POINT.
        verbs: all verbs of the command.

    Raises:
        ConfigError: another shell.
    """
    [word] = arguments or ["bash"]
    if word == "query":
        line = os.environ.get("COMP_LINE", "")
        point = os.environ.get("COMP_POINT", "")
        print("\n".join(completions(line[: int(point)] if point.isdecimal() else line, verbs)))
    elif word.removeprefix("install=") == "bash":
        print(SCRIPT)
    else:
        raise ConfigError(f'--shell-completion {word}: write eval "$(segnet --shell-completion bash)", in zsh too')


def completions(line: str, verbs: Sequence[str]) -> list[str]:
    """Return the words that may stand at the end of a command line.

    Args:
        line: `segnet ...` up to the cursor.
        verbs: all verbs of the command.

    Returns:
        Whole words; a complete word ends with a space.
    """
    *before, current = line.split(" ")
    words = [word for word in before[1:] if word]
    if not words:
        found: Iterator[str] = (f"{verb} " for verb in verbs)
    elif words[0] in SCHEMAS:
        found = _of_schema(words[0], current)
    elif words[0] in verbs:
        found = _of_parser(words, verb_parser(words[0]))
    else:
        found = iter(())
    return sorted(word for word in found if word.startswith(current))


def _of_schema(verb: str, current: str) -> Iterator[str]:
    """Yield the options of a dataclass as `name=` and `--name=`; after "=" their known values."""
    dashes = "--" if current.startswith("--") else ""
    kinds = dict(_flat_fields(SCHEMAS[verb]))
    if verb in ALL_OF_TRAIN:
        kinds["experiment"] = str
    if "dataset" in kinds:
        kinds["task"] = str
    name, sign, _ = current.removeprefix(dashes).partition("=")
    if not sign:
        yield from (f"{dashes}{option}=" for option in kinds)
        yield from (f"{switch.split()[0]} " for switch in SWITCH_HELP)
    elif name in kinds:
        values = ["true", "false"] if kinds[name] is bool else choices_of(name)
        yield from (f"{dashes}{name}={value} " for value in values)


def _flat_fields(schema: type, prefix: str = "") -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(schema):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from _flat_fields(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def _of_parser(words: Sequence[str], parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the flags of a parser, or the choices of the flag before the cursor."""
    actions = parser._option_string_actions  # argparse has no public list of flags
    last = actions.get(words[-1])
    if last is not None and last.nargs != 0:
        yield from (f"{choice} " for choice in last.choices or ())
        return
    yield from (f"{name} " for name in actions if name.startswith("--"))
