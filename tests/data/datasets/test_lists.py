"""Lists of images and masks, from any tool and any system."""

import unicodedata
from pathlib import Path

import pytest

from segnet.data.datasets.lists import listed_pairs, named_pairs
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import by_key, pair_folders
from segnet.errors import DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def relative(pairs, root: Path) -> list[tuple[str, str]]:
    return [(str(image.relative_to(root)), str(mask.relative_to(root))) for image, mask in pairs]


def listed(root: Path, text: str) -> list[tuple[str, str]]:
    (root / "list.txt").write_text(text)
    pairs = lambda: (root / "i", pair_folders(root / "i", root / "m", Notes(), mask_suffix="_m"))  # noqa: E731
    return relative(listed_pairs(root / "list.txt", root, Notes(), pairs), root)


@pytest.fixture
def root(tmp_path):
    return touch(tmp_path, "i/x/a.jpg", "i/b.jpg", "i/c d.jpg", "m/x/a_m.png", "m/b_m.png", "m/c d_m.png")


@pytest.mark.parametrize("line", ["i/b.jpg", "i/b", "b.jpg", "b", "i/b.jpg m/b_m.png", "i/b.jpg\tm/b_m.png", " b.jpg "])
def test_a_line_names_an_image_or_both(root, line):
    assert listed(root, f"{line}\n") == [("i/b.jpg", "m/b_m.png")]


@pytest.mark.parametrize("line", ["i/c d.jpg", "c d", "i/c d.jpg\tm/c d_m.png", "i/c d.jpg m/c d_m.png"])
def test_names_can_contain_spaces(root, line):
    assert listed(root, line) == [("i/c d.jpg", "m/c d_m.png")]


def test_the_list_determines_the_order(root):
    assert [image for image, _ in listed(root, "x/a\n\nb\n")] == ["i/x/a.jpg", "i/b.jpg"]


def test_pairs_of_other_names_need_no_folders(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/b.png")
    (tmp_path / "list.txt").write_text("one/a.jpg two/b.png")
    pairs = listed_pairs(tmp_path / "list.txt", tmp_path, Notes(), lambda: pytest.fail("folders were searched"))
    assert relative(pairs, tmp_path) == [("one/a.jpg", "two/b.png")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.jpg", "names 'gone.jpg', but .* has no such image with a mask"),
        ("../secret.jpg", "is outside"),
        ("i/b.jpg ../secret.png", "is outside"),
        ("/etc/passwd", "is outside"),
        ("i/b.jpg\t/etc/passwd", "is outside"),
        ("i/\0.jpg", "is outside"),
    ],
)
def test_lines_without_a_file_or_outside_the_root_are_refused(root, line, message):
    with pytest.raises(DataError, match=message) as caught:
        listed(root, line)
    assert str(caught.value).startswith(str(root / "list.txt"))


@pytest.mark.parametrize(
    "line",
    [
        "i\\x\\a.jpg m\\x\\a_m.png",
        "i\\x\\a.jpg",
        "x\\a",
        "./i/x/a.jpg ./m/x/a_m.png",
        "./i/x/../x/a.jpg",
        "{root}/i/x/a.jpg {root}/m/x/a_m.png",
        "{root}/i/x/a",
        "I/X/A.JPG",
        "i/x/a.jpg,m/x/a_m.png",
        "i/x/a.jpg; m/x/a_m.png",
        "i/x/%61.jpg",
        "file://{root}/i/x/a.jpg",
    ],
)
def test_names_of_other_systems_are_read(root, line):
    assert listed(root, line.replace("{root}", str(root)) + "\r\n") == [("i/x/a.jpg", "m/x/a_m.png")]


def test_names_in_another_unicode_form_are_read(root):
    composed, decomposed = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    touch(root, f"i/{decomposed}/a.jpg", f"m/{decomposed}/a_m.png")
    for line in (f"i/{composed}/a.jpg", f"{composed}/a", f"i/{composed}/a.jpg m/{composed}/a_m.png"):
        assert listed(root, line) == [(f"i/{decomposed}/a.jpg", f"m/{decomposed}/a_m.png")]


def test_an_absolute_path_through_a_link_to_the_root_is_below_it(root, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "data"
    link.symlink_to(root)
    assert listed(link, f"{root}/i/b.jpg") == [("i/b.jpg", "m/b_m.png")]


def test_a_repeated_line_is_used_again_and_reported(root):
    (root / "list.txt").write_text("b\nb\n")
    notes = Notes()
    pairs = lambda: (root / "i", pair_folders(root / "i", root / "m", Notes(), mask_suffix="_m"))  # noqa: E731
    assert len(listed_pairs(root / "list.txt", root, notes, pairs)) == 2
    assert notes.lines() == [f"{root}/list.txt: 1 line repeated, its image counts each time: b"]


def test_an_image_with_two_masks_is_refused(root):
    with pytest.raises(DataError, match=r"i/b\.jpg with two masks, b_m\.png and a_m\.png"):
        listed(root, "i/b.jpg m/b_m.png\ni/b.jpg m/x/a_m.png\n")


@pytest.mark.parametrize("name", ["x/a", "x/a.jpg", "x\\a", "./x/a", '"x/a"', "/x/a.jpg"])
def test_lists_of_names(root, name):
    image_of = by_key([root / "i/x/a.jpg", root / "i/b.jpg"], root / "i")
    mask_of = by_key([root / "m/x/a_m.png"], root / "m", "_m")
    assert named_pairs(root / "l.txt", [name], image_of, mask_of, root / "i") == [
        (root / "i/x/a.jpg", root / "m/x/a_m.png")
    ]
    with pytest.raises(DataError, match=r"l\.txt: names 'b', but .* has no such image with a mask \(and 1 more\)"):
        named_pairs(root / "l.txt", ["b", "../c"], image_of, mask_of, root / "i")
    with pytest.raises(DataError, match="twice"):
        named_pairs(root / "l.txt", [name, "x/a"], image_of, mask_of, root / "i")
