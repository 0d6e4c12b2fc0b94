"""Run a command or a function in a process of its own, with limited memory and time, and measure it."""

import contextlib
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from segnet.system.files import GIB

LONGEST = 900.0  # a process that takes longer is ended [s]


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of a run.

    Attributes:
        code: exit code; negative for a signal.
        seconds: duration of the process [s].
        cpu_seconds: processor time of the process and its own [s].
        peak: peak memory of the process, or of the largest of its own [MiB].
        output: all that it printed.
    """

    code: int
    seconds: float
    peak: int
    output: str
    cpu_seconds: float = 0.0

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        return next((line for line in reversed(self.output.splitlines()) if line.strip()), "")


def run(command: Sequence[str], cwd: Path, memory: float | None = None, longest: float = LONGEST) -> Ended:
    """Run a command in a process of its own; its caches are below `cwd`.

    Args:
        memory: limit of the memory that each of its processes may allocate [GiB]; None: no limit.
        longest: duration after which its processes are killed [s].
    """

    def execute() -> None:
        os.execve(command[0], list(command), {**os.environ, "XDG_CACHE_HOME": str(cwd / "cache")})

    return forked(execute, cwd, memory, longest)


def forked(work: Callable[[], None], cwd: Path, memory: float | None = None, longest: float = LONGEST) -> Ended:
    """Run a function in a forked process, which ends as a Python program does; arguments as for `run`."""
    with tempfile.TemporaryFile() as output:
        start = time.monotonic()
        process = os.fork()
        if process == 0:
            os.setsid()
            os.chdir(cwd)
            for stream in (1, 2):
                os.dup2(output.fileno(), stream)
            if memory is not None:
                resource.setrlimit(resource.RLIMIT_DATA, (int(memory * GIB),) * 2)
            os._exit(_exit_code(work))

        def kill() -> None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)

        timer = threading.Timer(longest, kill)
        timer.start()
        _, status, usage = os.wait4(process, 0)
        timer.cancel()
        seconds = time.monotonic() - start
        output.seek(0)
        text = output.read().decode(errors="replace")
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Ended(os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss // 1024, text, cpu_seconds)


def _exit_code(work: Callable[[], None]) -> int:
    """Run a function; return the exit code that a program of it has."""
    code = 0
    try:
        work()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(ValueError):
            stream.flush()
    return code
