"""File names of other programs are resolved to files, never outside the folder."""

import os
import unicodedata

import pytest

from segnet.data.datasets.file_names import Files, walk
from segnet.data.datasets.notes import Notes
from segnet.errors import DataError
from segnet.system.files import is_hidden

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))


@pytest.fixture
def folder(tmp_path):
    top = tmp_path / "data"
    for name in (
        "a.jpg",
        "sub/b c.jpg",
        f"sub/{DECOMPOSED}.jpg",
        "x%20y.jpg",
        "q?r#s.jpg",
        "back\\slash.jpg",
        "Two.jpg",
    ):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(b"")
    (tmp_path / "secret.jpg").write_bytes(b"")
    return top


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.jpg", "a.jpg"),
        ("./a.jpg", "a.jpg"),
        ("sub/../a.jpg", "a.jpg"),
        ("{}/a.jpg", "a.jpg"),
        ("file://{}/a.jpg", "a.jpg"),
        ("sub\\b c.jpg", "sub/b c.jpg"),
        (".\\sub\\b%20c.jpg", "sub/b c.jpg"),
        ("sub/b%20c.jpg?token=../..&x=y", "sub/b c.jpg"),
        (f"sub/{COMPOSED}.jpg", f"sub/{DECOMPOSED}.jpg"),
        (f"SUB\\{COMPOSED}.JPG", f"sub/{DECOMPOSED}.jpg"),
        ("x%20y.jpg", "x%20y.jpg"),
        ("q?r#s.jpg", "q?r#s.jpg"),
        ("back\\slash.jpg", "back\\slash.jpg"),
        ("TWO.JPG", "Two.jpg"),
    ],
)
def test_a_name_of_another_program_is_found(folder, name, found):
    assert Files(folder).find(name.replace("{}", str(folder)), folder) == folder / found


def test_a_relative_folder_gives_relative_paths(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    files = Files(folder.relative_to(folder.parent))
    assert str(files.find(f"{folder}/a.jpg", folder)) == "data/a.jpg"


def test_a_name_without_a_file_gives_its_expected_path(folder):
    assert Files(folder).find("sub\\gone.jpg", folder) == folder / "sub/gone.jpg"
    (folder / "TWO.jpg").write_bytes(b"")
    assert not Files(folder).find("two.jpg", folder).is_file()  # which of both?


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "..\\secret.jpg",
        "%2e%2e/secret.jpg",
        "/etc/passwd",
        "sub/../../secret.jpg",
        "a\0.jpg",
        "",
        " ",
        ".",
    ],
)
def test_names_outside_the_folder_are_refused(folder, name):
    with pytest.raises(DataError, match=r"^list: .* is outside"):
        Files(folder).find(name, "list")


def test_names_invalid_on_every_file_system_have_no_file(folder):
    assert not os.path.isfile(Files(folder).find("x" * 5000, folder))
    assert not os.path.isfile(Files(folder).find("\ud800.jpg", folder))


@pytest.mark.parametrize("name", [".a", ".Trash-1000", "._a.jpg", "__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db"])
def test_hidden_names(name):
    assert is_hidden(name)
    assert not is_hidden("a.jpg")


def test_a_walk_counts_hidden_files_at_any_depth(tmp_path):
    for name in ("a.jpg", "x/b.jpg", "@eaDir/deep/c.jpg", ".git/objects/d", "x/.e.jpg", "Thumbs.db"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    notes = Notes()
    found = walk(tmp_path, notes, lambda path: path.suffix == ".jpg")
    assert [str(path.relative_to(tmp_path)) for path in found] == ["a.jpg", "x/b.jpg"]
    assert notes.lines() == [f"{tmp_path}: 2 files left out, hidden or in the trash: @eaDir/deep/c.jpg, x/.e.jpg"]
