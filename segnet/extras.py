"""Missing and broken packages: optional packages are imported on demand, and each failure is one line."""

import importlib
import re
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType

from segnet.errors import MachineError, first_line

PACKAGE_FOLDER = str(Path(__file__).parent)


def import_extra(package: str, extra: str) -> ModuleType:
    """Import a package of one of segnet's extras.

    Raises:
        MachineError: it is not installed, or cannot be imported.
    """
    name = package.split(".")[0]
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        reason = "is not installed" if missing else f"cannot be imported ({error})"
        raise MachineError(f'{name} {reason}: pip install "segnet[{extra}]"') from None
    except Exception as error:  # a build for another torch, Python or CPU can fail in any way
        raise broken_package(error) or _unimportable(name, error) from None


def broken_package(error: Exception) -> MachineError | None:
    """The error message for a failed import of another package; None for other errors.

    Example: a torchvision built for another torch fails when torchmetrics or Lightning import it.
    """
    package = _package_at_fault(error)
    if package is None:
        return None
    if isinstance(error, ModuleNotFoundError):
        return MachineError(f"{package} is not installed: pip install {package}; segnet doctor checks all packages")
    return _unimportable(package, error)


def _package_at_fault(error: Exception) -> str | None:
    """The innermost package that was being imported by segnet."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        name = error.name.split(".")[0]
        return name if name != "segnet" else None
    found, ours, trace = None, False, error.__traceback__
    while trace is not None:
        code, module = trace.tb_frame.f_code, str(trace.tb_frame.f_globals.get("__name__"))
        if code.co_filename.startswith(PACKAGE_FOLDER):
            ours = True
        elif ours and code.co_name == "<module>" and not module.startswith("__"):
            found = module.split(".")[0]
        trace = trace.tb_next
    return found


def _unimportable(package: str, error: Exception) -> MachineError:
    if package == "torchvision":
        torch = getattr(sys.modules.get("torch"), "__version__", "")
        return MachineError(
            f"torchvision {installed_version(package)} does not fit torch {torch} ({first_line(error)}): pip uninstall "
            f"torchvision; backbone=timm alone needs one: {matching_torchvision(torch)}"
        )
    version = installed_version(package) or ""
    return MachineError(
        f"{package} {version} cannot be imported ({first_line(error)}): pip install --force-reinstall {package}; "
        "segnet doctor checks all packages"
    )


def matching_torchvision(torch: str) -> str:
    """Describe the torchvision that matches a version of torch.

    Each release of torchvision requires one release of torch, and both must be of one build: CPU, or a version of CUDA.

    Args:
        torch: version of torch, such as "2.13.0+cpu".
    """
    release, _, build = torch.partition("+")
    found = re.fullmatch(r"2\.(\d+)\.(\d+)", release)
    if not found:
        return "the release and build that belong to this torch"
    name = f"torchvision==0.{int(found[1]) + 15}.{found[2]}"
    return f"{name}+{build}, from where torch {torch} came" if build else name


def installed_version(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
