"""argparse for the verbs that take files: what is wrong becomes one line, as everywhere."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from segnet.components import nearest
from segnet.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Raises a ConfigError where argparse would print its usage and end the process."""

    def parse_args(  # type: ignore[override]  # of the two ways to call it, typeshed has one each
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> argparse.Namespace:
        options: argparse.Namespace
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            word = unknown[0].split("=")[0]
            hint = nearest(word, self._option_string_actions) if word.startswith("-") else ""
            raise ConfigError(f"{self._verb}: {unknown[0]} is not understood.{hint} See --help")
        return options

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self._verb}: {message}; see --help")

    @property
    def _verb(self) -> str:
        return self.prog.removeprefix("segnet ")
