"""Files and byte ranges from a folder, fsspec's memory file system and a web server."""

import fsspec
import pytest
from range_server import serving

from segnet.errors import ConfigError, DataError, MachineError
from segnet.system import storage
from segnet.system.storage import read_file, read_ranges

DIGITS = b"0123456789"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "digits").write_bytes(DIGITS)
    return tmp_path


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0))


def reads(root):
    assert read_file(root, "digits") == DIGITS
    assert read_ranges(root, [("digits", 7, 10), ("digits", 0, 2), ("digits", 1, 2)]) == [b"789", b"01", b"1"]
    with pytest.raises(DataError) as caught:
        read_file(root, "letters")
    assert str(caught.value) == f"{root.rstrip('/')}/letters: no such file"
    with pytest.raises(DataError, match=r"digits: truncated, bytes 8 to 12 are incomplete"):
        read_ranges(root, [("digits", 8, 12)])


def test_a_folder_is_read(folder):
    reads(str(folder))
    reads(f"{folder}/")
    reads(f"file://{folder}")


def test_fsspec_storage_is_read():
    fsspec.filesystem("memory").pipe("/bucket/data/digits", DIGITS)
    reads("memory://bucket/data")


def test_a_web_server_is_read(folder):
    with serving(folder) as url:
        reads(url)


def test_a_server_without_byte_ranges_is_refused(folder):
    with serving(folder, ranges=False) as url:
        assert read_file(url, "digits") == DIGITS
        with pytest.raises(
            DataError, match=r"digits: the server sent the whole file instead of a part: use another server"
        ):
            read_ranges(url, [("digits", 2, 4)])


def test_two_failures_are_retried(folder):
    with serving(folder, failures=2) as url:
        assert read_ranges(url, [("digits", 2, 4)]) == [b"23"]


def test_a_server_that_keeps_failing_is_named(folder):
    with (
        serving(folder, failures=99) as url,
        pytest.raises(
            MachineError, match=r"digits: cannot be read \(503.*check the address, the network and the credentials"
        ),
    ):
        read_ranges(url, [("digits", 2, 4), ("digits", 4, 6)])


def test_an_unreachable_server_is_named(folder):
    with serving(folder) as url:
        pass
    with pytest.raises(
        MachineError, match=r"digits: cannot be read \(.*check the address, the network and the credentials"
    ):
        read_file(url, "digits")


def test_a_file_without_permission_is_named(folder, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fsspec.implementations.local.open", refuse, raising=False)
    with pytest.raises(MachineError, match=r"digits: cannot be read \(.*Permission denied"):
        read_file(str(folder), "digits")


def test_an_unknown_kind_of_url_is_refused():
    with pytest.raises(ConfigError, match=r"nowhere://x: is neither a folder nor a URL that fsspec supports"):
        read_file("nowhere://x", "digits")


def test_a_missing_package_is_named(monkeypatch):
    def missing(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", missing)
    with pytest.raises(MachineError, match=r"s3://bucket: a package is missing: Install s3fs to access S3"):
        read_file("s3://bucket", "digits")
