"""The memory that a process may still use: of the machine, or of its container or job if that has less (Linux).

Also the reuse of freed memory.

Sources: proc(5), and the kernel's documentation of memory in control groups, v2 (memory.max, memory.current) and v1
(memory.limit_in_bytes, memory.usage_in_bytes). Docker, Kubernetes and SLURM set these limits, and /proc/meminfo does
not know them. A process above its limit is killed without a message.
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

V2 = ("memory.max", "memory.current", "inactive_file")  # limit, use, and the part of it that is a cache of files
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory(largest: int, kept: int) -> None:
    """Make glibc keep freed memory for the next arrays; by default it returns large ones to the system at once.

    The kernel clears new memory page by page. For an image this takes as long as decoding it.

    Args:
        largest: larger arrays are still returned [bytes].
        kept: the most that the process keeps [bytes].
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library
        return
    set_option(M_MMAP_THRESHOLD, largest)
    set_option(M_TRIM_THRESHOLD, kept)


def free_memory(root: Path = Path("/")) -> int:
    """Return the memory that this process may still use [bytes]; 0: unknown.

    Args:
        root: the root of the file system.
    """
    available = _fields(root / "proc" / "meminfo").get("MemAvailable:", 0) * 1024
    return min((left for left in (available, *_left_in_groups(root)) if left > 0), default=0)


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the free memory of the control group of this process and of those above it, where they have a limit."""
    mount = root / "sys" / "fs" / "cgroup"
    for line in _text(root / "proc" / "self" / "cgroup").splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if hierarchy == "0" and not controllers:
            yield from _left_along(mount, path, V2)
        elif "memory" in controllers.split(","):
            yield from _left_along(mount / "memory", path, V1)


def _left_along(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Yield what is left of each limit from a group up to the mount; a container sees its own group as the mount."""
    limit, use, cache = names
    group = mount / path.lstrip("/")
    for folder in (group, *group.parents):
        allowed, used = (_text(folder / name).strip() for name in (limit, use))
        if allowed.isdigit() and used.isdigit():
            yield max(1, int(allowed) - int(used) + _fields(folder / "memory.stat").get(cache, 0))
        if folder == mount:
            return


def _fields(path: Path) -> dict[str, int]:
    """The numbers of a file with a name and a number in each line; empty if it is missing."""
    words = [line.split() for line in _text(path).splitlines()]
    return {name: int(number) for name, number, *_ in (row for row in words if len(row) > 1) if number.isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
