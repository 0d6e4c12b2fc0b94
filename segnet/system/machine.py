"""The machine in one line, and what it does to a run: full memory, full disk, dead workers, dead fellow processes."""

import contextlib
import errno
import functools
import logging
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

import torch

from segnet.errors import MachineError, SegnetError

log = logging.getLogger(__name__)

CPUINFO = Path("/proc/cpuinfo")
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FULL_MEMORY = ("can't allocate memory", "not enough memory")  # in a RuntimeError of torch's CPU allocator
GIB = 2**30


def num_cores() -> int:
    """The processor's cores that this process may use: a job of a cluster or a container may have few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@functools.cache
def cpu_has_bf16() -> bool:
    """Whether the processor and this build of torch multiply in bf16: AVX512-BF16 or AMX on x86, BF16 on Arm.

    Without such instructions oneDNN emulates them: training takes about 5 times as long as in float32, prediction 6.
    """
    if not torch.backends.mkldnn.is_available():
        return False
    flags = _cpu_flags()
    if flags is not None:
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)  # the last one as Linux calls it on Arm
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    return any(supported() for supported in asked if supported is not None)


def _cpu_flags() -> set[str] | None:
    """Instruction sets by Linux's names; None on other systems."""
    try:
        lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = {line.partition(":")[2] for line in lines if line.split(":")[0].strip() in ("flags", "Features")}
    return {flag for flags in found for flag in flags.split()} or None


def usable_precision(precision: str, device: str) -> str:
    """The precision to compute in: float32 in place of bf16 on a CPU without bf16 instructions, with one warning.

    Args:
        precision: float32, bf16 or fp16.
        device: its type, such as "cpu" or "cuda".
    """
    if precision != "bf16" or device != "cpu" or cpu_has_bf16():
        return precision
    _warn_of_missing_bf16()
    return "float32"


@functools.cache
def _warn_of_missing_bf16() -> None:
    log.warning("precision=bf16: this CPU has no bf16 instructions (AVX512-BF16, AMX or Arm BF16): float32 is used")


@contextlib.contextmanager
def explained(batch: str, lower: str) -> Iterator[None]:
    """Turns the machine's errors within into one line each.

    Args:
        batch: what takes the memory, such as "8 crops of 512 x 512".
        lower: the options that need less of it.

    Raises:
        MachineError: what happened, and the way out.
    """
    try:
        yield
    except SegnetError:
        raise
    except torch.OutOfMemoryError as error:
        raise MachineError(_gpu_memory(str(error), batch, lower)) from None
    except MemoryError:
        raise MachineError(f"the memory is full with {batch}: lower {lower}, or data.num_workers") from None
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise MachineError(
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}): free some space, then go on with "
            "checkpoint=auto"
        ) from None
    except RuntimeError as error:
        message = _explanation(str(error), batch, lower)
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            message = f"compile=true: the model cannot be compiled here ({_reason(error)}): leave it out"
        if message is None:
            raise
        raise MachineError(message) from None


def is_full_memory(error: BaseException) -> bool:
    """Whether an error says that the memory, of a GPU or of the machine, is full."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in FULL_MEMORY)


def _gpu_memory(reason: str, batch: str, lower: str) -> str:
    used = ""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        used = f" ({peak / GIB:.1f} GiB used here at the peak, {free / GIB:.1f} of {total / GIB:.1f} GiB free)"
    elif asked := re.search(r"Tried to allocate [\d.]+ \w+", reason):
        used = f" ({asked[0]})"
    return f"the GPU's memory is full with {batch}{used}: lower {lower}"


def _explanation(reason: str, batch: str, lower: str) -> str | None:
    """Of a RuntimeError's message; None: it is not the machine's."""
    if any(words in reason for words in FULL_MEMORY):
        return f"the memory is full with {batch}: lower {lower}, or data.num_workers"
    if "Bus error" in reason or "unable to write to file </torch_" in reason or "shared memory" in reason:
        return "the shared memory (/dev/shm) is full: enlarge it (docker: --shm-size=8g), or lower data.num_workers"
    if killed := re.search(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (.*?)(?:[.\n]|$)", reason):
        return (
            f"a process that loads data {killed[1].removeprefix('is ').replace('killed', 'was killed')}: most likely "
            "the memory is full: lower data.num_workers, then go on with checkpoint=auto"
        )
    if "DataLoader timed out" in reason:
        return "no batch came within data.timeout: is the disk too slow, or a file system hanging? Raise data.timeout"
    peers = ("Connection closed by peer", "Connection reset by peer", "NCCL", "[Gloo]", "gloo")
    if any(word in reason for word in peers):
        return f"another process of this run ended, or cannot be reached: its own message tells why ({_first(reason)})"
    return None


def _reason(error: Exception) -> str:
    """Of a failed compilation: what lies under it, when that is told."""
    inner = error.__cause__ or getattr(error, "inner_exception", None) or error
    return _first(str(inner) or type(inner).__name__)


def _first(reason: str) -> str:
    return reason.strip().splitlines()[0][:120]


def machine_line(device: torch.device) -> str:
    """Processor or GPU, threads and versions, in a line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} of {num_cores()} threads"
    return f"{name}{threads}; Python {platform.python_version()}, torch {torch.__version__}"


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
