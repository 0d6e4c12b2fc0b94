"""Exit codes, and the errors that a user can cause: one line each, without a stack trace."""

import re
from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of the `segnet` command; 128 + n stands for signal n."""

    OK = 0
    BUG = 1  # internal error with a stack trace
    USAGE = 2  # command line or configuration
    DATA = 3  # images, masks, annotation files
    CHECKPOINT = 4  # checkpoints and weight files
    MACHINE = 5  # disk, memory, device, missing package
    PARTIAL = 6  # some inputs failed, the others are done


NUM_LISTED = 5  # items listed in an error; further ones are counted


def listed(names: Sequence[str], most: int = NUM_LISTED) -> str:
    """The first names and the number of the others: "a, b, c, d, e and 3 more"; "none" for an empty sequence."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "none"


def counted(number: int, one: str, many: str = "") -> str:
    """Format a number with its noun: "1 image", "2,000 images"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if it has no message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


# Control characters, line separators, lone surrogates, bidirectional and invisible characters.
_CONTROLS = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, keep: str = "") -> str:
    """Escape control characters in text for a terminal, log or table, such as ``\\x1b``.

    Names of files and classes and messages of servers may contain sequences that erase lines, change the terminal's
    title or reverse the text direction.

    Args:
        text: text from any source.
        keep: control characters to keep, such as line breaks.
    """

    def written_out(match: re.Match[str]) -> str:
        character = match[0]
        if character in keep:
            return character
        code = ord(character)
        form = "\\x{:02x}" if code < 0x100 else "\\u{:04x}" if code < 0x10000 else "\\U{:08x}"
        return _SHORT.get(character) or form.format(code)

    return _CONTROLS.sub(written_out, text)


class SegnetError(ValueError):
    """Base class of all errors that a user can cause. The message is one line: location, problem, solution."""

    exit_code: int = ExitCode.USAGE

    def __init__(self, message: str) -> None:
        # A DataLoader raises the error of a worker again, with the worker's stack trace before the message.
        if message.startswith("Caught ") and "\nOriginal Traceback" in message:
            message = message.rpartition(f"{type(self).__name__}: ")[2].rstrip("\n")
        super().__init__(message)


class ConfigError(SegnetError):
    """An invalid option, or a combination of options that cannot work."""


class DataError(SegnetError):
    """An image, mask or list file that cannot be used."""

    exit_code = ExitCode.DATA


class CheckpointError(SegnetError):
    """A checkpoint or weight file that cannot be used."""

    exit_code = ExitCode.CHECKPOINT


class MachineError(SegnetError):
    """A full disk, out of memory, a missing device or a missing package."""

    exit_code = ExitCode.MACHINE


class Interrupted(BaseException):
    """A signal ended the run cleanly.

    Like KeyboardInterrupt, it does not inherit from Exception: libraries that catch every Exception would continue or
    report another error.

    Args:
        signum: the signal.
        message: what was interrupted and saved; empty if another process reports it.
    """

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(signum, message)
        self.exit_code = 128 + signum

    def __str__(self) -> str:
        return str(self.args[1])
