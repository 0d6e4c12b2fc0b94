"""argparse for the verbs that take files: what is wrong becomes one line, as everywhere."""

import argparse
from typing import NoReturn

from segnet.errors import ConfigError


class Parser(argparse.ArgumentParser):
    """Raises a ConfigError where argparse would print its usage and end the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{self.prog.removeprefix('segnet ')}: {message}; see --help")
