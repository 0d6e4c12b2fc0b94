"""Machine errors are one line with advice."""

import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from warm_python import WARM_PYTHON

from segnet.errors import DataError, MachineError
from segnet.system import machine
from segnet.system.machine import cpu_has_bf16, explained, machine_line, num_cores, usable_precision

ROOT = Path(__file__).resolve().parents[2]
KILLED = "DataLoader worker (pid 17) is killed by signal: Killed. "
BUS = (
    "DataLoader worker (pid 17) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit."
)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"),
            "GPU out of memory with 8 crops .*2.00 GiB.*: lower data.batch_size",
        ),
        (MemoryError(), "^out of memory with 8 crops: lower data.batch_size"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes. Error code 12"),
            "^out of memory with 8 crops",
        ),
        (RuntimeError(KILLED), "worker was killed by signal: Killed, .*lower data.num_workers"),
        (
            RuntimeError("DataLoader worker (pid(s) 1, 2) exited unexpectedly"),
            "worker exited unexpectedly, most likely out of memory: ",
        ),
        (RuntimeError(BUS), "/dev/shm.*--shm-size"),
        (RuntimeError("DataLoader timed out after 300.0 seconds"), "data.timeout"),
        (OSError(28, "No space left on device", "metrics.csv"), "metrics.csv: cannot be written .No space left"),
        (
            RuntimeError("[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3"),
            "another process",
        ),
    ],
)
def test_each_machine_error_is_one_line_with_advice(error, message):
    with pytest.raises(MachineError, match=message) as caught, explained("8 crops", "data.batch_size"):
        raise error
    assert "\n" not in str(caught.value)


def test_a_failed_compilation_names_its_cause():
    cause = RuntimeError("No working C++ compiler found\nlong story")
    failed = type("InductorError", (RuntimeError,), {"__module__": "torch._inductor.exc"})("backend='inductor' raised")
    failed.__cause__ = cause
    message = r"compile=true.*No working C\+\+ compiler found\): remove compile=true"
    with pytest.raises(MachineError, match=message) as caught, explained("", ""):
        raise failed
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OSError(2, "No such file"), DataError("a mask"), KeyError(1)])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, explained("", ""):
        raise error
    assert caught.value is error


class Dying(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_reported():
    with pytest.raises(MachineError, match=r"a data loader worker (was killed|exited)"), explained("", ""):
        list(DataLoader(Dying(), num_workers=1))


FULL_DISK = """
import resource, sys, torch
from segnet.models.checkpoint import save_checkpoint
content = {"hyper_parameters": {"model": {}, "classes": {}}, "weights": torch.zeros(100_000)}
save_checkpoint(content, sys.argv[1])
content["weights"] += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    save_checkpoint(content, sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
print(torch.load(sys.argv[1], weights_only=True)["weights"].sum().item())
"""


def test_a_full_disk_leaves_the_older_checkpoint(tmp_path):
    """The disk is simulated by a limit on file sizes."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] in (resource.RLIM_INFINITY, -1)
    done = subprocess.run(
        [*WARM_PYTHON, "-c", FULL_DISK, str(tmp_path / "a.ckpt")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    told, weights = done.stdout.splitlines()
    assert re.match(r"MachineError .*a\.ckpt: cannot be written", told)
    assert float(weights) == 0
    assert os.listdir(tmp_path) == ["a.ckpt"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="not on this system")
def test_num_cores_counts_the_cores_of_the_process():
    """SLURM, taskset and docker --cpuset-cpus set them; the number of data loader workers follows."""
    code = (
        "import os; mine = sorted(os.sched_getaffinity(0))[:1]; os.sched_setaffinity(0, mine); "
        "from segnet.system.machine import num_cores; print(num_cores())"
    )
    done = subprocess.run([*WARM_PYTHON, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


def test_machine_line_has_threads_and_versions():
    line = machine_line(torch.device("cpu"))
    assert f"{torch.get_num_threads()} of {num_cores()} threads" in line
    assert f"torch {torch.__version__}" in line


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("processor : 0\nflags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 amx_tile amx_bf16\n", True),
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512vl avx512_vnni\n", False),  # torch reports it as supported
        ("flags\t\t: fpu avx2\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd sve i8mm bf16\n", True),  # Arm
        ("processor\t: 0\nFeatures\t: fp asimd\n", False),
    ],
)
def test_bf16_support_follows_the_cpu_flags(cpuinfo, expected, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert cpu_has_bf16.__wrapped__() == expected


def test_without_cpuinfo_torch_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "missing")
    for supported in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert cpu_has_bf16.__wrapped__() == supported


def test_a_cpu_without_bf16_computes_in_float32_with_one_warning(monkeypatch, caplog):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    machine._warn_of_missing_bf16.cache_clear()
    assert [usable_precision("bf16", "cpu") for _ in range(3)] == ["float32"] * 3
    assert len(caplog.messages) == 1
    assert "no bf16 instructions" in caplog.messages[0]
    assert usable_precision("bf16", "cuda") == "bf16"
    assert usable_precision("fp16", "cpu") == "fp16"  # refused by another check
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: True)
    assert usable_precision("bf16", "cpu") == "bf16"


def test_a_process_has_an_age():
    code = "import time; time.sleep(0.2); from segnet.system.machine import process_age; print(process_age())"
    age = float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
    assert age >= 0.2 or age == 0  # which other systems than Linux give
