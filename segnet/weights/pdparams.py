"""Reads ``.pdparams``, PaddlePaddle's parameter files, without Paddle and without running what they might hide.

Such a file is a pickle of a dict: name -> numpy array, plus a bookkeeping entry. A pickle can name any callable, so
here no name is ever imported: the few that numpy's arrays need stand for inert records of our own, from which arrays of
plain numbers are built afterwards. Everything else is refused.
"""

import os
import pickle
import struct
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segnet.errors import CheckpointError

BOOKKEEPING = "StructuredToParameterName@@"
PLAIN_TYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})


class _DType:
    """Stands for numpy.dtype."""

    def __init__(self, code: str = "", *_: object) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def resolve(self) -> np.dtype[Any]:
        if self.code not in PLAIN_TYPES:
            raise pickle.UnpicklingError(f"arrays of type {self.code!r}")
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    """Stands for numpy.ndarray: remembers what the pickle says of it."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def resolve(self) -> NDArray[Any]:
        _, shape, dtype, fortran, data = self.state
        array = np.frombuffer(data, dtype.resolve()).reshape(shape, order="F" if fortran else "C")
        return array.astype(array.dtype.newbyteorder("="), copy=False)  # torch takes the machine's byte order only


class _Buffer(_Array):
    """Stands for numpy's _frombuffer, which pickles of protocol 5 name."""

    def __init__(self, data: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> None:
        self.state = (1, shape, dtype, order == "F", data)
        self.axes = axes

    def resolve(self) -> NDArray[Any]:
        array = super().resolve()
        return array if self.axes is None else array.transpose(self.axes)


class _Scalar(_Array):
    """Stands for numpy.core.multiarray.scalar."""

    def __init__(self, dtype: Any, data: Any) -> None:
        self.state = (1, (), dtype, False, data)


class _Encoded(bytes):
    """Stands for _codecs.encode, by which pickles of protocol 2 carry bytes."""

    def __new__(cls, text: str, encoding: str = "latin1") -> "_Encoded":
        return super().__new__(cls, text.encode("latin1"))

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes bytes")


STANDINS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _Encoded,
    ("collections", "OrderedDict"): dict,
}
for _module in ("numpy.core", "numpy._core"):  # before and since numpy 2
    STANDINS[_module + ".multiarray", "_reconstruct"] = _Array
    STANDINS[_module + ".multiarray", "scalar"] = _Scalar
    STANDINS[_module + ".numeric", "_frombuffer"] = _Buffer


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C takes gigabytes of memory where a damaged file names a large memo index.

    It costs no time that counts: an array's data is a single opcode.
    """

    def load_bytearray8(self: Any) -> None:
        """Reads before it makes room: a damaged length may be anything."""
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: load_bytearray8}

    def find_class(self, module: str, name: str) -> Any:
        try:
            return STANDINS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_pdparams(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Reads a ``.pdparams`` file.

    Returns:
        Name -> array of numbers, in the file's order, without the bookkeeping entry.

    Raises:
        CheckpointError: missing, damaged, or holding anything else than arrays, texts, numbers and dicts.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="latin1").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a dict")
        return {
            name: value.resolve() if isinstance(name, str) and isinstance(value, _Array) else _refuse(name, value)
            for name, value in content.items()
            if name != BOOKKEEPING
        }
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    except CheckpointError:
        raise
    except Exception as error:  # a hand-made pickle can fail in any way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(
            f"{path}: is not a .pdparams file of plain arrays, and was not loaded: {reason}"
        ) from None


def _refuse(name: object, value: object) -> NDArray[Any]:
    kind = "an array" if isinstance(value, _Array) else f"a {type(value).__name__}"
    raise pickle.UnpicklingError(f"entry {name!r} is {kind}: expected are texts as names, and arrays")
