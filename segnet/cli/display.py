"""What a command that works through many inputs shows: a bar on a terminal, elsewhere a line for each input."""

import sys
import time
from typing import Any

from segnet.cli.output import say
from segnet.errors import printable


class Display:
    """A context manager; results go to stdout, what is wrong to stderr.

    Args:
        total: number of inputs.
        moving: whether their parts are shown, as frames of a video: a bar even for one input.
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
        """Of images and frames, since the start."""
        return self._images / max(1e-9, time.monotonic() - self._start)

    def line(self, text: str) -> None:
        """A result; with a bar the bar says enough."""
        if self._bar is None:
            say(text)

    def error(self, text: str) -> None:
        """What is wrong, or to be known."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text, error=True)

    def image(self, number: int = 1) -> None:
        """Images or frames are done, for the speed."""
        self._images += number
        if self._bar is not None:
            self._bar.update(self._task, speed=f"{self.images_per_second:.1f} images/s")

    def step(self) -> None:
        """An input is done."""
        if self._bar is not None:
            self._bar.advance(self._task)

    def frames(self, done: int, total: int) -> None:
        """How far a video is; with several inputs the bar counts the inputs."""
        self.image()
        if self._bar is not None and self._total == 1:
            self._bar.update(self._task, completed=done, total=total or None)

    def end(self, text: str) -> None:
        """The sum of what a bar has shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
            self.line(f"{text}, {self.images_per_second:.1f} images/s")
