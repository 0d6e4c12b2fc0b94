"""Reading what torch.save wrote: checksums compared, nothing in the file run."""

import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from segnet.errors import CheckpointError
from segnet.system.integrity import is_zip, refusing_damage, require_zip_checksums


def load_torch(path: str | os.PathLike[str], kind: str, *, legacy: bool = False, mapped: bool = False) -> Any:
    """Load tensors, plain values and containers of them onto the CPU.

    Args:
        path: the file.
        kind: what it should be, for the messages: "a checkpoint", "a weight file".
        legacy: whether the pickles of torch before 1.6 are read too. They have no checksums.
        mapped: whether tensors stay in the file until they are used, so that an optimizer's state costs nothing.

    Raises:
        CheckpointError: missing, damaged, or holding anything else, which could run code.
        MachineError: out of memory.
    """
    path = Path(path)
    with refusing_damage(path, f"is not {kind}, or damaged or cut off"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript, which is refused
        archive = is_zip(path)
        if archive:
            require_zip_checksums(path)
        elif path.stat().st_size == 0:
            raise CheckpointError(f"{path}: is not {kind}: it is empty (0 bytes)")
        elif not legacy:
            raise CheckpointError(f"{path}: is not {kind}, or damaged or cut off")
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped and archive)
        except (pickle.UnpicklingError, RuntimeError) as error:
            named = re.search(r"GLOBAL ([\w.]+)|(TorchScript)", " ".join(str(error).split()))
            if named is None:
                raise
            raise CheckpointError(
                f"{path}: holds more than tensors and plain values ({named[1] or named[2]}) and was not loaded: it may "
                "be unsafe. Where you trust it, load it yourself and save its state_dict alone"
            ) from None
