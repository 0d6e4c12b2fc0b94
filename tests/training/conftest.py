"""Fixtures of the tests of runs and their folders."""

import os
import signal

import pytest

from segnet.training.run_lock import locked


@pytest.fixture
def held(tmp_path):
    """A function that lets another process hold a folder until the end of the test."""
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
