"""Machine errors in one line: out of memory, full disk, killed workers, lost processes; and CPU features."""

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
from segnet.system.files import GIB

log = logging.getLogger(__name__)

CPUINFO = Path("/proc/cpuinfo")
FULL_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")  # in a RuntimeError of torch's CPU allocator


def num_cores() -> int:
    """Number of CPU cores that this process may use: a cluster job or a container may have a few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_age() -> float:
    """Return the time since this process started [s]; 0 if unknown."""
    try:
        ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


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
    """Instruction sets, as Linux names them; None on other systems."""
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
    """Turn errors of the machine inside the context into one line each.

    Args:
        batch: what occupies the memory, such as "8 crops of 512 x 512".
        lower: the options that reduce it.

    Raises:
        MachineError: the cause and a solution.
    """
    try:
        yield
    except SegnetError:
        raise
    except torch.OutOfMemoryError as error:
        raise MachineError(_gpu_memory(str(error), batch, lower)) from None
    except MemoryError:
        raise MachineError(f"out of memory with {batch}: lower {lower}, or data.num_workers") from None
    except OSError as error:
        if error.errno not in FULL_DISK:
            raise
        raise MachineError(
            f"{error.filename or 'a file'}: cannot be written ({error.strerror}): free some space, then resume with "
            "checkpoint=auto"
        ) from None
    except RuntimeError as error:
        message = _explanation(str(error), batch, lower)
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            message = f"compile=true: the model cannot be compiled here ({_reason(error)}): remove compile=true"
        if message is None:
            raise
        raise MachineError(message) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory, of a GPU or of the machine."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)


def _gpu_memory(reason: str, batch: str, lower: str) -> str:
    used = ""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        peak = torch.cuda.max_memory_allocated()
        used = (
            f" ({peak / GIB:.1f} GiB used by this process at its peak, {free / GIB:.1f} of {total / GIB:.1f} GiB free)"
        )
    elif asked := re.search(r"Tried to allocate [\d.]+ \w+", reason):
        used = f" ({asked[0]})"
    return f"GPU out of memory with {batch}{used}: lower {lower}"


def _explanation(reason: str, batch: str, lower: str) -> str | None:
    """One line for a RuntimeError's message; None if the machine is not its cause."""
    if any(words in reason for words in OUT_OF_MEMORY):
        return f"out of memory with {batch}: lower {lower}, or data.num_workers"
    if "Bus error" in reason or "unable to write to file </torch_" in reason or "shared memory" in reason:
        return "out of shared memory (/dev/shm): enlarge it (docker: --shm-size=8g), or lower data.num_workers"
    if killed := re.search(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (.*?)(?:[.\n]|$)", reason):
        return (
            f"a data loader worker {killed[1].removeprefix('is ').replace('killed', 'was killed')}, most likely out of "
            "memory: lower data.num_workers, then resume with checkpoint=auto"
        )
    if "DataLoader timed out" in reason:
        return "no batch arrived within data.timeout: the disk may be slow, or a file system hang; raise data.timeout"
    peers = ("Connection closed by peer", "Connection reset by peer", "NCCL", "[Gloo]", "gloo")
    if any(word in reason for word in peers):
        return f"another process of this run ended or cannot be reached: see its own message ({_first(reason)})"
    return None


def _reason(error: Exception) -> str:
    """The cause of a failed compilation, if it is known."""
    inner = error.__cause__ or getattr(error, "inner_exception", None) or error
    return _first(str(inner) or type(inner).__name__)


def _first(reason: str) -> str:
    return reason.strip().splitlines()[0][:120]


def machine_line(device: torch.device) -> str:
    """CPU or GPU, threads and versions in one line."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} of {num_cores()} threads"
    return f"{name}{threads}; Python {platform.python_version()}, torch {torch.__version__}"


def _processor() -> str:
    if CPUINFO.exists():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
