"""What a process of its own is given to do that does not end well: it has to be importable there."""

import os
import signal
from pathlib import Path

from segnet.config import BenchmarkConfig


def killed(checkpoint: Path, config: BenchmarkConfig) -> None:
    """As by the system, where the memory is full."""
    os.kill(os.getpid(), signal.SIGKILL)
