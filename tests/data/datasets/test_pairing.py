"""Files are found in folders and lists, and paired by name."""

from pathlib import Path

import pytest

from segnet.data.datasets.pairing import listed_pairs, lost_files, pair_folders, pictures, read_lines
from segnet.errors import ConfigError, DataError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def relative(pairs, root: Path) -> list[tuple[str, str]]:
    return [(str(image.relative_to(root)), str(mask.relative_to(root))) for image, mask in pairs]


def test_files_are_paired_by_name_without_ending(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.c.png", "m/b.c.tif", "m/a.png")
    pairs = pair_folders(tmp_path / "i", tmp_path / "m")
    assert relative(pairs, tmp_path) == [("i/a.jpg", "m/a.png"), ("i/b.c.png", "m/b.c.tif")]


def test_folders_inside_are_part_of_the_name(tmp_path):
    touch(tmp_path, "i/x/a.jpg", "i/y/a.jpg", "i/y/z/b.jpg", "m/x/a.png", "m/y/a.png", "m/y/z/b.png")
    assert relative(pair_folders(tmp_path / "i", tmp_path / "m"), tmp_path) == [
        ("i/x/a.jpg", "m/x/a.png"),
        ("i/y/a.jpg", "m/y/a.png"),
        ("i/y/z/b.jpg", "m/y/z/b.png"),
    ]


def test_suffixes_are_no_part_of_the_name_and_files_without_them_do_not_count(tmp_path):
    touch(tmp_path, "i/c/a_left.png", "m/c/a_ids.png", "m/c/a_color.png", "i/c/a_right.png")
    assert relative(pair_folders(tmp_path / "i", tmp_path / "m", "_left", "_ids"), tmp_path) == [
        ("i/c/a_left.png", "m/c/a_ids.png")
    ]


def test_images_and_masks_may_lie_in_one_folder(tmp_path):
    touch(tmp_path, "a.jpg", "a_mask.png", "b.jpg", "b_mask.png")
    assert relative(pair_folders(tmp_path, tmp_path, mask_suffix="_mask"), tmp_path) == [
        ("a.jpg", "a_mask.png"),
        ("b.jpg", "b_mask.png"),
    ]
    with pytest.raises(ConfigError, match=r"set dataset\.mask_suffix"):
        pair_folders(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (
            ["a.jpg", "b.jpg", "c.jpg"],
            ["a.png"],
            r"i/b.jpg: image without mask \(and 1 more such\): .*m has no 'b\.\*'",
        ),
        (["a.jpg"], ["a.png", "b.png"], r"m/b.png: mask without image: .*i has no 'b\.\*'"),
        (["x/a.jpg"], ["y/a.png"], r"i/x/a.jpg: image without mask: .*m has no 'x/a\.\*'"),
        (["a.jpg", "a.png"], ["a.png"], r"i/a.png: has the same name as a.jpg"),
        (["a.jpg"], ["a.bmp", "a.png"], r"m/a.png: has the same name as a.bmp"),
    ],
)
def test_files_that_do_not_pair_are_refused(tmp_path, images, masks, message):
    touch(tmp_path / "i", *images)
    touch(tmp_path / "m", *masks)
    with pytest.raises(DataError, match=message):
        pair_folders(tmp_path / "i", tmp_path / "m")


def test_a_lonely_image_is_told_with_the_suffix_that_its_mask_would_have(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.jpg", "m/a_mask.png")
    with pytest.raises(DataError, match=r"has no 'b_mask\.\*'"):
        pair_folders(tmp_path / "i", tmp_path / "m", mask_suffix="_mask")


def test_pictures_are_sorted_and_hidden_and_other_files_left_out(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.tiff", ".cache/d.png", "x/e.webp")
    found = [str(path.relative_to(tmp_path)) for path in pictures(tmp_path)]
    assert found == ["a.jpg", "b.PNG", "c.tiff", "x/e.webp"]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "i/b.png")
    (tmp_path / "i" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "i" / "loop").symlink_to(tmp_path / "i")
    assert [path.name for path in pictures(tmp_path / "i")] == ["b.png", "a.png"]


def test_folder_without_pictures_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"holds no picture \(\.bmp, "):
        pictures(tmp_path)


# Lists


def listed(root: Path, text: str) -> list[tuple[str, str]]:
    (root / "list.txt").write_text(text)
    pairs = lambda: (root / "i", pair_folders(root / "i", root / "m", mask_suffix="_m"))  # noqa: E731
    return relative(listed_pairs(root / "list.txt", root, pairs), root)


@pytest.fixture
def root(tmp_path):
    return touch(tmp_path, "i/x/a.jpg", "i/b.jpg", "i/c d.jpg", "m/x/a_m.png", "m/b_m.png", "m/c d_m.png")


@pytest.mark.parametrize("line", ["i/b.jpg", "i/b", "b.jpg", "b", "i/b.jpg m/b_m.png", "i/b.jpg\tm/b_m.png", " b.jpg "])
def test_a_line_names_an_image_or_both(root, line):
    assert listed(root, f"{line}\n") == [("i/b.jpg", "m/b_m.png")]


@pytest.mark.parametrize("line", ["i/c d.jpg", "c d", "i/c d.jpg\tm/c d_m.png", "i/c d.jpg m/c d_m.png"])
def test_names_may_have_blanks(root, line):
    assert listed(root, line) == [("i/c d.jpg", "m/c d_m.png")]


def test_the_list_gives_the_order(root):
    assert [image for image, _ in listed(root, "x/a\n\nb\n")] == ["i/x/a.jpg", "i/b.jpg"]


def test_pairs_of_other_names_need_no_folders(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/b.png")
    (tmp_path / "list.txt").write_text("one/a.jpg two/b.png")
    pairs = listed_pairs(tmp_path / "list.txt", tmp_path, lambda: pytest.fail("folders were searched"))
    assert relative(pairs, tmp_path) == [("one/a.jpg", "two/b.png")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("gone.jpg", "names 'gone.jpg', which is no image with a mask"),
        ("../secret.jpg", "lies outside"),
        ("i/b.jpg ../secret.png", "lies outside"),
        ("/etc/passwd", "lies outside"),
        ("i/b.jpg\t/etc/passwd", "lies outside"),
        ("i/\0.jpg", "lies outside"),
    ],
)
def test_lines_that_name_nothing_or_lead_outside_are_refused(root, line, message):
    with pytest.raises(DataError, match=message) as caught:
        listed(root, line)
    assert str(caught.value).startswith(str(root / "list.txt"))


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "lists no image"), (b"\xff\xfe\x00", "cannot be read as")])
def test_list_that_is_none_is_refused(tmp_path, content, message):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_lines(tmp_path / "list.txt")


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa.jpg\r\nb.jpg\r\n")
    assert read_lines(tmp_path / "list.txt") == ["a.jpg", "b.jpg"]


def test_an_inspection_lists_lonely_files_and_pairs_the_others(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.jpg", "i/b.png", "m/b.png", "m/c.png")
    with lost_files() as lost:
        pairs = pair_folders(tmp_path / "i", tmp_path / "m")
    assert relative(pairs, tmp_path) == [("i/b.jpg", "m/b.png")]
    named = [line.partition(": ")[0] for line in lost]
    assert named == [str(tmp_path / name) for name in ("i/b.png", "i/a.jpg", "m/c.png")]
    with pytest.raises(DataError, match="same name"):
        pair_folders(tmp_path / "i", tmp_path / "m")
