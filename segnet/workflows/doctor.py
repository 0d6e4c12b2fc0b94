"""`segnet doctor`: check the installation for missing, clashing and broken packages, and the machine.

A check does not import the package, or imports it in a subprocess: a crash on import must not end the doctor.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from segnet import __version__
from segnet.extras import installed_version, matching_torchvision
from segnet.system.files import GIB

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"
IMPORT_TIMEOUT = 120  # limit of an import in a subprocess [s]
# Distributions that clash with segnet's requirements -> the reason, and the command that fixes it.
CLASHES = {
    "opencv-python": "overwrites files of opencv-python-headless: pip uninstall opencv-python, then "
    "pip install --force-reinstall opencv-python-headless",
    "opencv-contrib-python": "overwrites files of opencv-python-headless: pip uninstall opencv-contrib-python, then "
    "pip install --force-reinstall opencv-python-headless",
    "albumentationsx": "replaces albumentations, under another license: pip uninstall albumentationsx, then "
    "pip install --force-reinstall albumentations==2.0.8",
}
MALWARE = {("lightning", "2.6.2"), ("lightning", "2.6.3")}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Attributes:
        name: the checked item.
        state: OK, NOTE (works, with a remark) or PROBLEM (some verb will fail).
        text: the finding; for a problem, also its solution.
    """

    name: str
    state: str
    text: str


def diagnose() -> Iterator[Check]:
    """Run all checks, quick ones first."""
    yield _python()
    yield Check("segnet", OK, f"{__version__} in {Path(__file__).parents[1]}")
    yield from _packages()
    yield from _torch()
    yield from _machine()
    yield from _extras()
    yield from _folders()


def _python() -> Check:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 14)
    text = f"{version} ({sys.executable})"
    return Check("Python", OK if fits else PROBLEM, text if fits else f"{text}: segnet needs 3.11 to 3.13")


def _requirements() -> Iterator[tuple[str, Requirement]]:
    """Yield segnet's requirements as (extra, requirement); the extra is "" for required packages."""
    try:
        lines = metadata.requires("segnet") or []
    except metadata.PackageNotFoundError:
        return
    for line in lines:
        requirement = Requirement(line)
        found = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        environment = {"extra": found[1] if found else ""}  # the other markers describe this interpreter
        if requirement.marker is None or requirement.marker.evaluate(environment):
            yield found[1] if found else "", requirement


def _packages() -> Iterator[Check]:
    required = [requirement for extra, requirement in _requirements() if not extra]
    if not required:
        yield Check("packages", NOTE, "segnet is not installed, but runs from its folder: pip install -e . checks more")
    for requirement in required:
        version = installed_version(requirement.name)
        if version is None:
            yield Check(requirement.name, PROBLEM, f'is not installed: pip install "{_spelled(requirement)}"')
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Check(requirement.name, PROBLEM, f'{version}: pip install "{_spelled(requirement)}"')
        else:
            yield Check(requirement.name, OK, version)
    for name, remedy in CLASHES.items():
        if version := installed_version(name):
            yield Check(name, PROBLEM, f"{version} {remedy}")
    for name, version in MALWARE:
        if installed_version(name) == version:
            yield Check(
                name, PROBLEM, f"{version} was published with malware: pip uninstall {name}, change your passwords"
            )


def _spelled(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _torch() -> Iterator[Check]:
    code = (
        "import torch; gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]; "
        "print(torch.version.cuda or torch.version.hip or ''); print(', '.join(gpus)); "
        "print(torch.backends.mps.is_available())"
    )
    lines, error = _run_python(code)
    if error:
        yield Check("torch", PROBLEM, f"cannot be imported ({error}): pip install --force-reinstall torch")
        return
    toolkit, gpus, mps = [*lines, "", "", ""][:3]
    if gpus:
        yield Check("GPU", OK, f"{gpus} (torch built for {toolkit})")
    elif mps == "True":
        yield Check("GPU", OK, "Apple GPU, use device=mps")
    elif toolkit:
        yield Check("GPU", NOTE, f"torch, built for CUDA {toolkit}, finds no usable GPU: is the driver recent enough?")
    elif shutil.which("nvidia-smi"):
        yield Check("GPU", PROBLEM, "this torch is built for CPUs only: install the CUDA build from pytorch.org")
    else:
        yield Check("GPU", OK, "none; torch runs on the CPU")
    yield from _torchvision()


def _torchvision() -> Iterator[Check]:
    """Check torchvision: a build that does not match torch breaks torchmetrics, and with it training."""
    if (version := installed_version("torchvision")) is None:
        return
    _, error = _run_python("import torchvision")
    if error:
        torch = installed_version("torch") or ""
        remedy = f"pip uninstall torchvision; backbone=timm alone needs one: {matching_torchvision(torch)}"
        text = f"{version} does not fit torch {torch} ({error}), training will fail: {remedy}"
        yield Check("torchvision", PROBLEM, text)
    else:
        yield Check("torchvision", OK, f"{version} (not needed)")


def _run_python(code: str) -> tuple[list[str], str]:
    """Run code in a subprocess; return its output lines, and the reason of a failure or ""."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=IMPORT_TIMEOUT)
    except subprocess.TimeoutExpired:
        return [], f"no answer within {IMPORT_TIMEOUT} s"
    if done.returncode == 0:
        return done.stdout.splitlines(), ""
    lines = done.stderr.strip().splitlines()
    return [], lines[-1] if lines else f"exit code {done.returncode}"


def _machine() -> Iterator[Check]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("CPU", OK, f"{cores} cores, {platform.machine()}")
    memory = _memory()
    if memory is not None:
        low = memory < 4 * GIB
        yield Check(
            "memory", NOTE if low else OK, f"{memory / GIB:.1f} GiB{': use small crops and batches' if low else ''}"
        )
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total
        text = f"{size / GIB:.1f} GiB in /dev/shm"
        small = f"{text}: data.num_workers=0, or docker run --shm-size=8g"
        yield Check("shared memory", OK if size >= GIB else NOTE, text if size >= GIB else small)


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _extras() -> Iterator[Check]:
    extras: dict[str, list[Requirement]] = {}
    for extra, requirement in _requirements():
        if extra and extra not in ("dev", "docs"):
            extras.setdefault(extra, []).append(requirement)
    for extra, requirements in sorted(extras.items()):
        missing = [requirement.name for requirement in requirements if installed_version(requirement.name) is None]
        old = [
            f"{requirement.name} {version}"
            for requirement in requirements
            if (version := installed_version(requirement.name))
            and not requirement.specifier.contains(version, prereleases=True)
        ]
        if old:
            yield Check(f"extra {extra}", PROBLEM, f'{", ".join(old)} does not fit: pip install -U "segnet[{extra}]"')
        elif missing:
            yield Check(f"extra {extra}", NOTE, f'{", ".join(missing)} not installed: pip install "segnet[{extra}]"')
        else:
            yield Check(
                f"extra {extra}", OK, ", ".join(f"{it.name} {installed_version(it.name)}" for it in requirements)
            )


def _folders() -> Iterator[Check]:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "segnet"
    for name, folder in (("cache folder", cache), ("run folder", Path("runs").absolute())):
        existing = next(path for path in (folder, *folder.parents) if path.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            remedy = "set XDG_CACHE_HOME to a writable folder" if folder == cache else "work in a writable folder"
            yield Check(name, PROBLEM, f"{folder} cannot be written: {remedy}")
            continue
        free = shutil.disk_usage(existing).free
        state = OK if free >= 2 * GIB else NOTE
        yield Check(name, state, f"{folder}, {_size(folder)} used, {free / GIB:.1f} GiB free")


def _size(folder: Path) -> str:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0
    return f"{size / GIB:.1f} GiB"
