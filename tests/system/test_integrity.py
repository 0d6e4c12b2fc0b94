"""Every error of a damaged file is one line, and a changed byte of a zip archive is detected."""

import struct
import zipfile

import pytest
import torch

from segnet.errors import CheckpointError, ConfigError, DataError, Interrupted, MachineError
from segnet.system.integrity import refusing_damage, require_zip_checksums


@pytest.mark.parametrize(
    "error",
    [
        IndexError("pop from empty list"),
        KeyError("x"),
        struct.error("unpack requires a buffer of 4 bytes"),
        AssertionError(),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        RecursionError(),
        ConfigError("depths are no numbers"),
        DataError("no image"),
        OverflowError("too\nlong"),
        MemoryError(),
        OSError(36, "File name too long"),
        IsADirectoryError(21, "Is a directory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_becomes_one_line_that_names_the_file(error, tmp_path):
    path = tmp_path / "a.ckpt"
    with pytest.raises(CheckpointError) as caught, refusing_damage(path, "is damaged"):
        raise error
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert str(caught.value) != f"{path}: is damaged ()"


@pytest.mark.parametrize("error", [MachineError("no timm"), CheckpointError("b.ckpt: other"), Interrupted(15, "ended")])
def test_other_errors_are_not_converted(error, tmp_path):
    with pytest.raises(type(error)) as caught, refusing_damage(tmp_path, "is damaged"):
        raise error
    assert caught.value is error


def test_a_missing_file_is_named(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"weights\.bin: no such file"),
        refusing_damage(tmp_path / "model.xml", "is damaged"),
    ):
        (tmp_path / "weights.bin").read_bytes()


def test_long_reasons_are_truncated(tmp_path):
    with pytest.raises(CheckpointError) as caught, refusing_damage("a", "is damaged"):
        raise ValueError("x" * 5000)
    assert len(str(caught.value)) < 160


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"a": torch.arange(1000.0), "b": torch.ones(3, 3)}, path)
    return path


def test_every_changed_byte_is_detected(archive):
    require_zip_checksums(archive)
    whole = archive.read_bytes()
    with zipfile.ZipFile(archive) as opened:
        member = next(member for member in opened.infolist() if member.filename.endswith("data/0"))
    start = whole.index(torch.arange(1000.0).numpy().tobytes())
    for place in (start, start + member.file_size // 2, start + member.file_size - 1):
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(CheckpointError, match=r"a\.pt: is damaged: checksum mismatch in .*data/0"):
            require_zip_checksums(archive)


def test_archives_without_checksums_pass(tmp_path):
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    require_zip_checksums(tmp_path / "a.pt")


def test_compressed_archives_are_refused(archive, tmp_path):
    with zipfile.ZipFile(archive) as opened, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in opened.namelist():
            packed.writestr(name, opened.read(name))
    with pytest.raises(CheckpointError, match="compressed or encrypted"):
        require_zip_checksums(tmp_path / "b.pt")


def test_overlapping_members_are_refused(archive):
    whole = bytearray(archive.read_bytes())
    entry = whole.rindex(b"PK\x01\x02")
    whole[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)  # sizes in the central directory
    archive.write_bytes(whole)
    with pytest.raises((zipfile.BadZipFile, CheckpointError)):
        require_zip_checksums(archive)
