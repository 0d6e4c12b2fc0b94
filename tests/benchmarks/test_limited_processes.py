"""Processes with limits: exit code, output, peak memory and time."""

import signal
import sys

from limited_processes import run


def test_a_process_is_measured_and_limited(tmp_path):
    ended = run([sys.executable, "-c", "import sys; print('a'); print('b', file=sys.stderr); sys.exit(3)"], tmp_path)
    assert ended.code == 3
    assert sorted(ended.output.split()) == ["a", "b"]
    large = "pixels = bytearray(300 * 2**20); print(len(pixels))"
    assert run([sys.executable, "-c", large], tmp_path).peak > 300  # Linux counts the memory of the forking process too
    refused = run([sys.executable, "-c", large], tmp_path, memory=0.2)
    assert (refused.code, refused.last_line) == (1, "MemoryError")
    stuck = run([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, longest=0.2)
    assert stuck.code == -signal.SIGKILL
