"""The memory that a process may use: of the machine, a container, or a job."""

import ctypes
import subprocess
import sys

import pytest

from segnet.system import memory
from segnet.system.memory import free_memory

GIB = 2**30
MEMINFO = f"MemTotal: {32 * 2**20} kB\nMemFree: {2 * 2**20} kB\nMemAvailable: {20 * 2**20} kB\nHugePages_Total: 0\n"


def machine(root, files):
    """Write files below `root`, as Linux has them; limits and uses in GiB."""
    for name, content in {"proc/meminfo": MEMINFO, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else f"{content * GIB}\n")
    return free_memory(root) / GIB


def v2(folder, limit, use, cache=0):
    group = f"sys/fs/cgroup{folder}"
    stat = f"anon 1\ninactive_file {cache * GIB}\n"
    return {f"{group}/memory.max": limit, f"{group}/memory.current": use, f"{group}/memory.stat": stat}


def v1(folder, limit, use, cache=0):
    group = f"sys/fs/cgroup/memory{folder}"
    stat = f"cache 1\ntotal_inactive_file {cache * GIB}\n"
    return {
        f"{group}/memory.limit_in_bytes": limit,
        f"{group}/memory.usage_in_bytes": use,
        f"{group}/memory.stat": stat,
    }


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 20),
        ({"proc/self/cgroup": "0::/\n", **v2("", 4, 3, 1)}, 2),  # docker run --memory=4g
        ({"proc/self/cgroup": "0::/\n", **v2("", 64, 1)}, 20),
        ({"proc/self/cgroup": "0::/\n", **v2("", "max\n", 3)}, 20),
        ({"proc/self/cgroup": "0::/slurm/job_7\n", **v2("/slurm/job_7", "max\n", 1), **v2("/slurm", 8, 1)}, 7),
        ({"proc/self/cgroup": "0::/not/mounted\n", **v2("", 4, 3)}, 1),  # the path of the host, in a container
        ({"proc/self/cgroup": "4:memory:/a\n1:cpu:/a\n0::/\n", **v1("/a", 6, 4, 2), **v1("", 16, 1)}, 4),
        ({"proc/self/cgroup": "4:cpu,memory:/a\n", **v1("/a", 9_000_000_000, 4)}, 20),  # v1 without a limit
        ({"proc/self/cgroup": "0::/\n", **v2("", 4, 5)}, 1 / GIB),  # full: not unknown
        ({"proc/meminfo": "", "proc/self/cgroup": "0::/\n", **v2("", 4, 3)}, 1),
        ({"proc/meminfo": "MemAvailable: many kB\n", "proc/self/cgroup": "nothing\n"}, 0),
    ],
)
def test_the_smallest_limit_counts(files, free, tmp_path):
    assert machine(tmp_path, files) == free


def test_an_unknown_machine_has_no_limit(tmp_path):
    assert free_memory(tmp_path) == 0


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc only")
def test_freed_memory_is_reused():
    """In a process of its own: the option remains for its lifetime."""
    program = """
import resource, sys
from segnet.system.memory import keep_freed_memory
def faults(count=20):
    start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        bytearray(20 * 2**20), bytearray(20 * 2**20)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start) / count
keep_freed_memory(2**25, 2**28)
faults()
print(faults())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 100  # pages; 5,120 if the memory is new


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    memory.keep_freed_memory(1, 1)
