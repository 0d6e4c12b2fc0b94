"""Read ``.pdparams``, PaddlePaddle's parameter files, without Paddle and without executing code in the file.

Such a file is a pickle of a dict: name -> numpy array, plus a bookkeeping entry. A pickle can name any callable. This
reader allows only the few names that numpy arrays need, and maps each to a safe function. It refuses all other names.
"""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from segnet.errors import CheckpointError

BOOKKEEPING = "StructuredToParameterName@@"
PLAIN_TYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


def _dtype(code: str = "", *_: object) -> np.dtype[Any]:
    if code not in PLAIN_TYPES:
        raise pickle.UnpicklingError(f"arrays of type {code!r}")
    return np.dtype(code, copy=True)  # a copy: the pickle sets its byte order afterwards


def _from_buffer(data: Any, dtype: np.dtype[Any], shape: Any, order: str, axes: Any = None) -> NDArray[Any]:
    array = np.frombuffer(data, _require_dtype(dtype)).reshape(shape, order="F" if order == "F" else "C")
    return array if axes is None else array.transpose(axes)


def _require_dtype(dtype: object) -> np.dtype[Any]:
    if not isinstance(dtype, np.dtype):  # numpy would accept a string for any type
        raise pickle.UnpicklingError(f"arrays of type {dtype!r}")
    return dtype


ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): lambda *_: None,  # used only as an argument of _reconstruct
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),  # bytes in pickles of protocol 2
    ("collections", "OrderedDict"): dict,
}
for _module in ("numpy.core", "numpy._core"):  # before and since numpy 2
    ALLOWED[_module + ".multiarray", "_reconstruct"] = lambda *_: np.empty(0, "V1")  # refused later if no state is set
    ALLOWED[_module + ".multiarray", "scalar"] = lambda dtype, data: _from_buffer(data, dtype, (), "C")
    ALLOWED[_module + ".numeric", "_frombuffer"] = _from_buffer


class _Unpickler(pickle._Unpickler):
    """Unpickler in pure Python: the one in C allocates gigabytes for a large memo index in a damaged file.

    It is fast enough: an array's data is a single opcode.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}") from None

    def load_bytearray8(self: Any) -> None:
        """Read before allocating: the length in a damaged file may be arbitrary."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    def load_build(self: Any) -> None:
        """Set the state of a dtype or array only: functions have attributes too."""
        state, target = self.stack.pop(), self.stack[-1]
        set_state: Any = getattr(target, "__setstate__", None)
        if isinstance(target, np.dtype):
            set_state((3, ">" if state[1] == ">" else "<", None, None, None, -1, -1, 0))
        elif isinstance(target, np.ndarray) and isinstance(state[4], bytes):
            set_state((1, state[1], _require_dtype(state[2]), bool(state[3]), state[4]))
        else:
            raise pickle.UnpicklingError(f"it changes a {type(target).__name__}")

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BYTEARRAY8[0]: load_bytearray8,
        pickle.BUILD[0]: load_build,
    }


def read_pdparams(path: str | os.PathLike[str], opened: BinaryIO | None = None) -> dict[str, NDArray[Any]]:
    """Read a ``.pdparams`` file.

    Args:
        path: path of the file, or of the archive that contains it.
        opened: content of the file, if it is in an archive.

    Returns:
        Name -> numeric array in native byte order, in the file's order, without the bookkeeping entry.

    Raises:
        CheckpointError: the file is missing or damaged, or contains other objects than arrays, strings, numbers and
            dicts.
    """
    path = Path(path)
    try:
        with opened or open(path, "rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it contains a {type(content).__name__}, not a dict")
        return {name: _array(name, value) for name, value in content.items() if name != BOOKKEEPING}
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except Exception as error:  # a crafted pickle can fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path}: is not a .pdparams file of plain arrays; refused: {reason}") from None


def _array(name: object, value: object) -> NDArray[Any]:
    if not isinstance(name, str) or not isinstance(value, np.ndarray) or value.dtype.str[1:] not in PLAIN_TYPES:
        kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise pickle.UnpicklingError(f"entry {name!r} is {kind}: expected are strings as names and numeric arrays")
    return value.astype(value.dtype.newbyteorder("="), copy=False)  # torch accepts native byte order only
