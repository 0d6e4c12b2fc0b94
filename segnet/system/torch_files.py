"""Load files of torch.save: checksums are verified, and no code in the file is executed."""

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
        kind: the expected kind of file, for messages: "a checkpoint", "a weight file".
        legacy: whether to read pickles of torch before 1.6 too. They have no checksums.
        mapped: whether to memory-map tensors, so that unused ones, such as the optimizer's state, are not read.

    Raises:
        CheckpointError: missing, damaged, or with other objects, which could execute code.
        MachineError: out of memory.
    """
    path = Path(path)
    with refusing_damage(path, f"is not {kind}, or damaged or cut off"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about TorchScript, which is refused
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
                f"{path}: contains other objects than tensors and plain values ({named[1] or named[2]}); refused as "
                "unsafe. If you trust it, load it yourself and save only its state_dict"
            ) from None
