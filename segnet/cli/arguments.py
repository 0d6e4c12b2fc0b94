"""argparse for the verbs that take files: each usage error is one line."""

import argparse
import contextlib
import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from segnet.cli.foreign_options import in_other_words
from segnet.cli.grammar import MODEL_SUFFIXES, to_options
from segnet.components import nearest
from segnet.errors import ConfigError
from segnet.weights.zoo import stands_for_model

# Help of options that several verbs have.
CHECKPOINT_HELP = (
    "checkpoint, exported model, or name from segnet models; given several times, their probabilities are averaged; "
    "default: the newest best.ckpt under runs/"
)
DEVICE_HELP = "cpu, cuda, cuda:1, mps; default: a GPU if available"
RUNTIME_HELP = "default: torch, or a cached export on a CPU"
PRECISION_HELP = "auto: the fastest that gives nearly the same masks, measured once; default: float32"


class Parser(argparse.ArgumentParser):
    """A parser that raises ConfigError; argparse would print its usage and end the process."""

    def parse_args(  # type: ignore[override]  # typeshed overloads it for each form of the call
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        arguments = to_options(sys.argv[1:] if args is None else args, self._option_string_actions)
        options: argparse.Namespace
        options, unknown = self.parse_known_args(arguments, namespace)
        if unknown:
            word, _, value = unknown[0].partition("=")
            following = arguments[arguments.index(unknown[0]) + 1 :]
            value = value or next(iter(following), "")
            answer = in_other_words(self._verb, word, value, self._option_string_actions)
            hint = nearest(word, self._option_string_actions) if word.startswith("-") else ""
            self.error(f"{unknown[0]} is not understood.{answer or hint}")
        return options

    def error(self, message: str) -> NoReturn:
        end = " See --help" if message.endswith((".", "?")) else "; see --help"
        raise ConfigError(f"{self._verb}: {message}{end}")

    @property
    def _verb(self) -> str:
        return self.prog.removeprefix("segnet ")


def add_checkpoints(parser: argparse.ArgumentParser, text: str) -> None:
    """Add the option `--checkpoint` for one or several models: `split_checkpoints` reads its values."""
    parser.add_argument("--checkpoint", action="append", nargs="+", default=[], metavar="FILE", help=text)


def verb_parser(verb: str) -> Parser:
    """Build the parser of a verb that takes files; predict's parser has a separate module."""
    module = importlib.import_module(f"segnet.cli.{verb}")
    if not hasattr(module, "build_parser"):
        module = importlib.import_module(f"segnet.cli.{verb}_options")
    built: Parser = module.build_parser()
    return built


def split_models(inputs: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split positional arguments into inputs and models: files by suffix, or names of published models."""
    models = [text for text in inputs if Path(text).suffix in MODEL_SUFFIXES or stands_for_model(text)]
    return [text for text in inputs if text not in models], models


def split_checkpoints(groups: Sequence[Sequence[str]]) -> tuple[list[str], list[str]]:
    """Split the values of `--checkpoint a.ckpt b.ckpt img.png` into inputs and models; the first one is a model.

    Args:
        groups: the values of each occurrence of the option.
    """
    inputs: list[str] = []
    models: list[str] = []
    for first, *rest in groups:
        others, more = split_models(rest)
        inputs += others
        models += [first, *more]
    return inputs, models


def one_checkpoint(verb: str, *named: str | None) -> str | None:
    """Return the checkpoint given by position or by `--checkpoint`; None without one.

    Raises:
        ConfigError: more than one.
    """
    given = [name for name in named if name is not None]
    if len(given) > 1:
        raise ConfigError(f"{verb}: {' and '.join(given)} are two checkpoints: name one")
    return given[0] if given else None


@contextlib.contextmanager
def python_names() -> Iterator[None]:
    """Use Python names of options in errors: `output_kind` for `--output-kind`."""
    try:
        yield
    except ConfigError as error:
        text = re.sub(r"(?<!\S)--([a-z0-9-]+)", lambda found: found[1].replace("-", "_"), str(error))
        raise ConfigError(text) from None
