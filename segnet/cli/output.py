"""Terminal output: lines, logs and stack traces without raw control characters."""

import logging
import sys
import traceback
from collections.abc import Sequence
from types import TracebackType
from typing import Any, TextIO

from segnet.errors import printable


def say(*words: object, error: bool = False) -> None:
    """Print one line and flush; control characters in names are escaped.

    Args:
        words: joined by spaces.
        error: print to stderr instead of stdout.
    """
    stream: TextIO = sys.stderr if error else sys.stdout
    print(printable(" ".join(map(str, words))), file=stream, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Print a table as wide as its cells, so that names can be copied.

    Args:
        right: columns that are aligned to the right.
    """
    widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
    for row in (columns, ["-" * width for width in widths], *rows):
        cells = [
            text.rjust(width) if name in right else text.ljust(width)
            for text, width, name in zip(row, widths, columns, strict=True)
        ]
        say("  ".join(cells).rstrip())


def protect_terminal() -> None:
    """Escape control characters in every log record, warning and stack trace of this process.

    Libraries may replace handlers and formatters, but not the record factory and the exception hook.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    logging.setLogRecordFactory(_Record)
    logging.captureWarnings(True)
    sys.excepthook = _print_exception


class _Record(logging.LogRecord):
    def getMessage(self) -> str:
        ours = self.name.partition(".")[0] == "segnet"
        return printable(super().getMessage(), keep="" if ours else "\n\t")


def _print_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> Any:
    sys.stderr.write(printable("".join(traceback.format_exception(kind, error, trace)), keep="\n\t"))
