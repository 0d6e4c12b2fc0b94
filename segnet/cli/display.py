"""Progress of a command with many inputs: a progress bar on a terminal, else one line per input."""

import sys
import time
from typing import Any

from segnet.cli.output import say
from segnet.errors import printable


class Display:
    """A context manager; results go to stdout, warnings and errors to stderr.

    Args:
        total: number of inputs.
        moving: whether inputs are videos: a progress bar counts frames even for one input.
    """

    def __init__(self, total: int, moving: bool = False) -> None:
        self._total = total
        self._images, self._start = 0, time.monotonic()
        self._wanted = (total > 1 or moving) and sys.stdout.isatty() and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Display":
        if self._wanted:
            from rich.console import Console  # not needed for a single image
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("", total=self._total, speed="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def images_per_second(self) -> float:
        """Throughput of images and frames since the start."""
        return self._images / max(1e-9, time.monotonic() - self._start)

    def line(self, text: str) -> None:
        """Print a result, unless a progress bar is shown."""
        if self._bar is None:
            say(text)

    def error(self, text: str) -> None:
        """Print a warning or an error to stderr."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text, error=True)

    def image(self, number: int = 1) -> None:
        """Count finished images or frames, for the throughput."""
        self._images += number
        if self._bar is not None:
            self._bar.update(self._task, speed=f"{self.images_per_second:.1f} images/s")

    def step(self) -> None:
        """Advance the progress bar by one finished input."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def frames(self, done: int, total: int) -> None:
        """Report finished frames of a video; with several inputs the progress bar counts inputs."""
        self.image()
        if self._bar is not None and self._total == 1:
            self._bar.update(self._task, completed=done, total=total or None)

    def end(self, text: str) -> None:
        """Remove the progress bar and print the summary."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self.line(f"{text}, {self.images_per_second:.1f} images/s")
