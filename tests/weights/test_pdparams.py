import builtins
import contextlib
import os
import pickle
import pickletools
import resource
from collections import OrderedDict

import numpy as np
import pytest

from segnet.errors import CheckpointError
from segnet.weights.pdparams import ALLOWED, BOOKKEEPING, read_pdparams

PROTOCOLS = [2, 3, 4, 5]


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((2, 3, 4))
    return {
        "float32": normal.astype(np.float32),
        "float64": normal,
        "float16": normal.astype(np.float16),
        "int64": rng.integers(-(2**62), 2**62, (5,)),
        "uint8": rng.integers(0, 256, (300,)).astype(np.uint8),
        "bool": normal > 0,
        "big_endian": normal.astype(">f4"),
        "fortran": np.asfortranarray(normal),
        "transposed": normal.transpose(1, 0, 2),
        "strided": normal[:, ::2],
        "zero_dimensional": np.array(3.25),
        "scalar": np.float32(1.5),
        "bytes_that_look_like_text": np.frombuffer("naïve\n\r\0ÿ€".encode() + b"\xff", np.uint8),
    }


def write(path, content, protocol=2):
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@pytest.mark.parametrize("kind", [dict, OrderedDict])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_are_read_unchanged(tmp_path, protocol, kind):
    stored = kind(arrays())
    stored[BOOKKEEPING] = {"float32": "linear_0.w_0"}
    read = read_pdparams(write(tmp_path / "a.pdparams", stored, protocol))
    assert list(read) == list(arrays())
    for name, array in arrays().items():
        assert isinstance(read[name], np.ndarray)
        assert read[name].dtype == array.dtype.newbyteorder("=")
        assert read[name].dtype.isnative
        np.testing.assert_array_equal(read[name], array, err_msg=name)


@pytest.mark.parametrize("protocol", [2, 3])
def test_files_written_before_numpy_2_are_read(tmp_path, protocol):
    now = pickle.dumps(arrays(), protocol)
    before = now.replace(b"cnumpy._core.", b"cnumpy.core.")
    assert before != now
    read = read_pdparams(write(tmp_path / "a.pdparams", before))
    np.testing.assert_array_equal(read["float32"], arrays()["float32"])


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "hide",
    [
        lambda payload: payload,
        lambda payload: {"w": payload},
        lambda payload: {"w": np.zeros(2, np.float32), BOOKKEEPING: {"a": [({"b": payload},)]}},
        lambda payload: {payload: np.zeros(2, np.float32)},
        lambda payload: {"w": np.array([payload], dtype=object)},
    ],
    ids=["whole", "value", "deep in the bookkeeping", "key", "inside an object array"],
)
def test_a_hidden_command_is_refused_and_never_runs(tmp_path, hide, protocol):
    sentinel = tmp_path / "sentinel"
    content = pickle.dumps(hide(Calls(os.system, f"touch {sentinel}")), protocol)
    with pytest.raises(CheckpointError, match=r"refers to (posix|nt)\.system|arrays of type 'O8?'"):
        read_pdparams(write(tmp_path / "a.pdparams", content))
    assert not sentinel.exists()
    pickle.loads(content)
    assert sentinel.exists()  # the payload works with plain pickle


@pytest.mark.parametrize(
    "value",
    [
        Calls(builtins.eval, "1"),
        Calls(builtins.getattr, np.ndarray, "tofile"),
        Calls(np.load, "a.npy"),
        Calls(np.frombuffer, b"abcd", "f4"),
        Calls(bytes, 10),
        Calls(pickle.loads, b"N."),
        np.array(["a", 1], dtype=object),
        np.array(["text"]),
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.zeros(2, dtype=[("a", "f4"), ("b", "f4")]),
        np.zeros(2, dtype="V4"),
        np.zeros(2, dtype="c8"),
        np.dtype("f4"),
        np.ndarray,
        {"a": np.zeros(2)},
        [1.0, 2.0],
        1.0,
        "text",
        b"bytes",
        None,
    ],
    ids=lambda value: repr(value.call[0].__qualname__ if isinstance(value, Calls) else value),
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_values_than_numeric_arrays_are_refused(tmp_path, value, protocol):
    good = np.zeros(2, np.float32)
    with pytest.raises(CheckpointError):
        read_pdparams(write(tmp_path / "a.pdparams", {"good": good, "bad": value}, protocol))
    assert list(read_pdparams(write(tmp_path / "b.pdparams", {"good": good}, protocol))) == ["good"]


@pytest.mark.parametrize("name", [1, None, ("a",), b"a"])
def test_names_that_are_not_strings_are_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match="names"):
        read_pdparams(write(tmp_path / "a.pdparams", {name: np.zeros(2)}, 4))


@pytest.mark.parametrize("content", [[np.zeros(2)], np.zeros(2), "text", 5, None, set()])
def test_other_objects_than_dicts_are_refused(tmp_path, content):
    with pytest.raises(CheckpointError):
        read_pdparams(write(tmp_path / "a.pdparams", content))


def named(module: str, name: str) -> bytes:
    return b"c%s\n%s\n" % (module.encode(), name.encode())


OPENING = b"\x80\x02"
DTYPE_F4 = named("numpy", "dtype") + b"U\x02f4\x85R"
EMPTY_ARRAY = named("numpy.core.multiarray", "_reconstruct") + b")R"


@pytest.mark.parametrize("attribute", ["__new__", "__init__", "__setstate__", "resolve", "state", "__call__"])
@pytest.mark.parametrize("standin", ALLOWED, ids=".".join)
def test_a_file_cannot_change_how_the_next_one_is_read(tmp_path, standin, attribute):
    # BUILD with (None, {attribute: value}) sets attributes, of a class too where nothing prevents it
    state = b"N}U" + bytes([len(attribute)]) + attribute.encode() + named("collections", "OrderedDict") + b"s\x86b"
    content = OPENING + named(*standin) + state + b"."
    assert [opcode.name for opcode, _, _ in pickletools.genops(content)][-2:] == [
        "BUILD",
        "STOP",
    ]  # well-formed, so that the refusal is segnet's
    with pytest.raises(CheckpointError):
        read_pdparams(write(tmp_path / "bad.pdparams", content))
    for protocol in PROTOCOLS:
        read = read_pdparams(write(tmp_path / "good.pdparams", arrays(), protocol))
        np.testing.assert_array_equal(read["float32"], arrays()["float32"])


def array_of(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    return OPENING + b"}U\x01w" + EMPTY_ARRAY + b"(K\x01" + shape + dtype + b"\x89" + data + b"tbs."


FOUR_BYTES = b"U\x04abcd"


def encoded(text: bytes) -> bytes:
    return named("_codecs", "encode") + b"U" + bytes([len(text)]) + text + b"U\x06latin1\x86R"


def test_the_crafted_array_is_valid_before_tampering(tmp_path):
    content = array_of(b"K\x01\x85", DTYPE_F4, encoded(b"abcd"))
    read = read_pdparams(write(tmp_path / "a.pdparams", content))
    np.testing.assert_array_equal(read["w"], np.frombuffer(b"abcd", "<f4"))


@pytest.mark.parametrize(
    "content",
    [
        array_of(b"K\x02\x85", DTYPE_F4, encoded(b"abcd")),  # shape larger than the data
        array_of(b"K\x01\x85", DTYPE_F4, encoded(b"abc")),
        array_of(b"K\x01\x85", DTYPE_F4, FOUR_BYTES),  # a string as data
        array_of(b"K\x01\x85", DTYPE_F4, b"]"),
        array_of(b"K\x01\x85", DTYPE_F4, EMPTY_ARRAY),
        array_of(b"U\x01a", DTYPE_F4, encoded(b"abcd")),
        array_of(b"K\x01\x85", b"U\x02f4", encoded(b"abcd")),  # a string as dtype
        array_of(b"K\x01\x85", named("numpy", "dtype") + b"U\x01O\x85R", encoded(b"abcdefgh")),
        array_of(b"K\x01\x85", named("numpy", "dtype") + b"U\x05f4,O8\x85R", encoded(b"abcd")),
        array_of(b"K\x01\x85", named("numpy", "dtype") + b"]\x85R", encoded(b"abcd")),
        array_of(b"K\x01\x85", named("numpy", "dtype") + DTYPE_F4 + b"\x85R", encoded(b"abcd")),
        array_of(b"K\x01\x85", named("numpy", "dtype"), encoded(b"abcd")),  # the class, not an instance
        OPENING + b"}U\x01w" + EMPTY_ARRAY + b"s.",  # never filled
        OPENING + b"}U\x01w" + EMPTY_ARRAY + b"Nbs.",
        OPENING + b"}U\x01w" + named("numpy", "ndarray") + b"s.",
        OPENING + b"}U\x01w" + named("numpy", "ndarray") + b")\x81s.",  # made without __init__
        OPENING + b"}U\x01w" + named("numpy", "ndarray.tofile") + b"s.",
        b"\x80\x04}\x8c\x01w\x8c\x05numpy\x8c\x0endarray.tofile\x93s.",
        OPENING + b"}U\x01wPid\ns.",  # a persistent id
        OPENING + b"}U\x01w\x82\x01s.",  # an extension
        b"\x80\x05}\x8c\x01w\x97s.",  # a buffer from outside
        OPENING + b"(U\x09echo pwnedios\nsystem\n.",  # INST
        OPENING + b"]" * 20_000 + b"a" * 19_999 + b".",
        OPENING + b"}U\x01w" + b"]" * 20_000 + b"a" * 19_999 + b"s.",
        OPENING + b"\x8a\xff" + b"\x01" * 255 + b".",
    ],
)  # fmt: skip
def test_crafted_pickles_are_refused(tmp_path, content):
    with pytest.raises(CheckpointError) as error:
        read_pdparams(write(tmp_path / "a.pdparams", content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_truncation_anywhere_is_refused(tmp_path, protocol):
    whole = pickle.dumps({"w": np.arange(6.0), BOOKKEEPING: {"w": "x"}}, protocol)
    path = tmp_path / "a.pdparams"
    for length in range(len(whole)):
        with pytest.raises(CheckpointError, match=r"a\.pdparams"):
            read_pdparams(write(path, whole[:length]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_bit_errors_never_cause_other_exceptions(tmp_path, protocol):
    rng = np.random.default_rng(protocol)
    whole = pickle.dumps({"w": np.arange(6.0), "s": np.float32(1), BOOKKEEPING: {"w": "x"}}, protocol)
    refused = 0
    for _ in range(300):
        damaged = bytearray(whole)
        for position in rng.integers(0, len(whole), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            read_pdparams(write(tmp_path / "a.pdparams", bytes(damaged)))
        except CheckpointError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "content",
    [
        OPENING + b"}r\xff\xff\xff\x00.",  # a place in the memo
        b"\x80\x05}\x8c\x01w\x96" + (2**28).to_bytes(8, "little") + b"abcds.",  # a length of bytes
        b"\x80\x05}\x8c\x01w\x96" + (2**63 + 5).to_bytes(8, "little") + b"abcds.",
    ],
)
def test_large_numbers_in_damaged_files_allocate_no_memory(tmp_path, content):
    path = write(tmp_path / "a.pdparams", content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with contextlib.suppress(CheckpointError):
        assert read_pdparams(path) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # [KiB]


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", bytes(100)])
def test_other_files_are_refused_by_name(tmp_path, content):
    with pytest.raises(CheckpointError) as error:
        read_pdparams(write(tmp_path / "a.pdparams", content))
    assert "a.pdparams: is not a .pdparams file" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_reported(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pdparams: no such file"):
        read_pdparams(tmp_path / "none.pdparams")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_pdparams(tmp_path)
