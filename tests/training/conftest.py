"""Fixtures for tests of runs and run folders."""

import os
import signal

import pytest

from segnet.training.run_lock import locked


@pytest.fixture
def held(tmp_path):
    """Return a function that makes another process hold a folder's lock until the end of the test."""
    processes = []

    def hold(folder):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            with locked(folder):
                os.write(writer, b"!")
                signal.pause()
        os.read(reader, 1)
        processes.append(process)
        return process

    yield hold
    for process in processes:
        os.kill(process, 9)
        os.waitpid(process, 0)
