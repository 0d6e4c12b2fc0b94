"""Optional packages, imported when they are asked for."""

import importlib
from types import ModuleType

from segnet.errors import MachineError


def import_extra(package: str, extra: str) -> ModuleType:
    """A package that one of segnet's extras brings.

    Raises:
        MachineError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == package.split(".")[0]
        reason = "is not installed" if missing else f"cannot be imported ({error})"
        raise MachineError(f'{package.split(".")[0]} {reason}: pip install "segnet[{extra}]"') from None
