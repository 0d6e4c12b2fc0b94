"""Files are found in folders, and paired by name."""

from pathlib import Path

import pytest

from segnet.data.datasets import pairing
from segnet.data.datasets.notes import Notes
from segnet.data.datasets.pairing import image_files, lost_files, pair_folders
from segnet.errors import ConfigError, DataError
from segnet.images import formats


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def relative(pairs, root: Path) -> list[tuple[str, str]]:
    return [(str(image.relative_to(root)), str(mask.relative_to(root))) for image, mask in pairs]


def test_files_are_paired_by_name_without_file_type(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.c.png", "m/b.c.tif", "m/a.png")
    pairs = pair_folders(tmp_path / "i", tmp_path / "m", Notes())
    assert relative(pairs, tmp_path) == [("i/a.jpg", "m/a.png"), ("i/b.c.png", "m/b.c.tif")]


def test_subfolders_are_part_of_the_name(tmp_path):
    touch(tmp_path, "i/x/a.jpg", "i/y/a.jpg", "i/y/z/b.jpg", "m/x/a.png", "m/y/a.png", "m/y/z/b.png")
    assert relative(pair_folders(tmp_path / "i", tmp_path / "m", Notes()), tmp_path) == [
        ("i/x/a.jpg", "m/x/a.png"),
        ("i/y/a.jpg", "m/y/a.png"),
        ("i/y/z/b.jpg", "m/y/z/b.png"),
    ]


def test_suffixes_are_not_part_of_the_name_and_required(tmp_path):
    touch(tmp_path, "i/c/a_left.png", "m/c/a_ids.png", "m/c/a_color.png", "i/c/a_right.png")
    assert relative(pair_folders(tmp_path / "i", tmp_path / "m", Notes(), "_left", "_ids"), tmp_path) == [
        ("i/c/a_left.png", "m/c/a_ids.png")
    ]


def test_images_and_masks_can_share_a_folder(tmp_path):
    touch(tmp_path, "a.jpg", "a_mask.png", "b.jpg", "b_mask.png")
    assert relative(pair_folders(tmp_path, tmp_path, Notes(), mask_suffix="_mask"), tmp_path) == [
        ("a.jpg", "a_mask.png"),
        ("b.jpg", "b_mask.png"),
    ]
    with pytest.raises(ConfigError, match=r"set dataset\.mask_suffix"):
        pair_folders(tmp_path, tmp_path, Notes())


@pytest.mark.parametrize(
    ("images", "masks", "given", "option"),
    [
        (["a.jpg", "b.jpg"], ["a_mask.png", "b_mask.png"], "", "dataset.mask_suffix=_mask"),
        (["x/a.png", "x/ab.png"], ["x/a-seg.tif", "x/ab-seg.tif"], "", "dataset.mask_suffix=-seg"),
        (["c1_0000.png"], ["c1.png"], "", "dataset.image_suffix=_0000"),
        (["a.jpg"], ["a_part_mask.png"], "_mask", "dataset.mask_suffix=_part_mask"),
    ],
)
def test_names_that_differ_by_a_suffix_name_the_option_that_pairs_them(tmp_path, images, masks, given, option):
    touch(tmp_path / "i", *images)
    touch(tmp_path / "m", *masks)
    folders = tmp_path / "i", tmp_path / "m"
    with pytest.raises(DataError, match=f"{option}$"):
        pair_folders(*folders, Notes(), mask_suffix=given, suggests_suffix=True)
    key, value = option.removeprefix("dataset.").split("=")
    assert len(pair_folders(*folders, Notes(), **{key: value})) == len(images)
    with pytest.raises(DataError, match="image without mask"):
        pair_folders(*folders, Notes(), mask_suffix=given)  # a reader without these options


@pytest.mark.parametrize(
    ("images", "masks"),
    [(["a.jpg", "b.jpg"], ["a_mask.png", "b_seg.png"]), (["a.jpg"], ["mask_a.png"]), (["a.jpg"], ["b.png"])],
)
def test_names_that_no_suffix_pairs_suggest_none(tmp_path, images, masks):
    touch(tmp_path / "i", *images)
    touch(tmp_path / "m", *masks)
    with pytest.raises(DataError, match="image without mask"):
        pair_folders(tmp_path / "i", tmp_path / "m", Notes(), suggests_suffix=True)


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (
            ["a.jpg", "b.jpg", "c.jpg"],
            ["a.png"],
            r"i/b.jpg: image without mask \(and 1 more\): .*m has no 'b\.\*'",
        ),
        (["a.jpg"], ["a.png", "b.png"], r"m/b.png: mask without image: .*i has no 'b\.\*'"),
        (["x/a.jpg"], ["y/a.png"], r"i/x/a.jpg: image without mask: .*m has no 'x/a\.\*'"),
        (["a.jpg", "a.png"], ["a.png"], r"i/a.png: has the same name as a.jpg"),
        (["a.jpg"], ["a.bmp", "a.png"], r"m/a.png: has the same name as a.bmp"),
    ],
)
def test_unpaired_files_are_refused(tmp_path, images, masks, message):
    touch(tmp_path / "i", *images)
    touch(tmp_path / "m", *masks)
    with pytest.raises(DataError, match=message):
        pair_folders(tmp_path / "i", tmp_path / "m", Notes())


def test_an_image_without_mask_is_named_with_the_suffix_of_its_mask(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.jpg", "m/a_mask.png")
    with pytest.raises(DataError, match=r"has no 'b_mask\.\*'"):
        pair_folders(tmp_path / "i", tmp_path / "m", Notes(), mask_suffix="_mask")


def test_image_files_are_sorted_without_hidden_and_other_files(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.tiff", ".cache/d.png", "x/e.webp")
    notes = Notes()
    found = [str(path.relative_to(tmp_path)) for path in image_files(tmp_path, notes)]
    assert found == ["a.jpg", "b.PNG", "c.tiff", "x/e.webp"]
    assert notes.lines() == [
        f"{tmp_path}: 2 files left out, hidden or in the trash: .hidden.png, .cache/d.png",
        f"{tmp_path}: 1 file left out, no image by its ending: notes.txt",
    ]


def test_links_to_folders_are_followed_once(tmp_path):
    touch(tmp_path, "elsewhere/a.png", "i/b.png")
    (tmp_path / "i" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "i" / "loop").symlink_to(tmp_path / "i")
    notes = Notes()
    assert [path.name for path in image_files(tmp_path / "i", notes)] == ["b.png", "a.png"]
    assert notes.lines() == [f"{tmp_path}/i: 1 folder left out, a link to a folder that is read already: loop"]


def test_folder_without_images_is_refused(tmp_path):
    touch(tmp_path, "notes.txt")
    with pytest.raises(DataError, match=r"has no image \("):
        image_files(tmp_path, Notes())


def test_an_inspection_lists_files_without_partner_and_pairs_the_others(tmp_path):
    touch(tmp_path, "i/a.jpg", "i/b.jpg", "i/b.png", "m/b.png", "m/c.png")
    with lost_files() as lost:
        pairs = pair_folders(tmp_path / "i", tmp_path / "m", Notes())
    assert relative(pairs, tmp_path) == [("i/b.jpg", "m/b.png")]
    named = [line.partition(": ")[0] for line in lost]
    assert named == [str(tmp_path / name) for name in ("i/b.png", "i/a.jpg", "m/c.png")]
    with pytest.raises(DataError, match="same name"):
        pair_folders(tmp_path / "i", tmp_path / "m", Notes())


def test_names_in_two_unicode_forms_are_equal(tmp_path):
    touch(tmp_path, "i/cafe\u0301.jpg", "m/caf\u00e9.png")
    assert len(pair_folders(tmp_path / "i", tmp_path / "m", Notes())) == 1
    touch(tmp_path, "i/caf\u00e9.jpg")
    with pytest.raises(DataError, match="has the same name as"):
        pair_folders(tmp_path / "i", tmp_path / "m", Notes())


def test_images_without_the_suffix_are_counted(tmp_path):
    touch(tmp_path, "i/a_left.png", "i/a_right.png", "m/a.png")
    notes = Notes()
    pair_folders(tmp_path / "i", tmp_path / "m", notes, "_left")
    assert notes.lines() == [f"{tmp_path}/i: 1 image left out, its name does not end in '_left': a_right.png"]


def test_heic_images_that_cannot_be_read_are_named_with_the_extra(tmp_path, monkeypatch):
    for module in (formats, pairing):
        monkeypatch.setattr(module, "image_suffixes", lambda: formats.IMAGE_SUFFIXES)
    touch(tmp_path, "i/a.jpg", "i/b.HEIC", "m/a.png", "m/b.png", "h/c.heic")
    with pytest.raises(
        DataError, match=r'm/b\.png: mask without image: .*i/b\.HEIC needs pip install "segnet\[heif\]"'
    ):
        pair_folders(tmp_path / "i", tmp_path / "m", notes := Notes())
    assert f"{tmp_path}/i: 1 image left out, HEIC needs {formats.INSTALL_HEIF}: b.HEIC" in notes.lines()
    with pytest.raises(DataError, match=r'h: has no image .*; its HEIC images need pip install "segnet\[heif\]"'):
        image_files(tmp_path / "h", Notes())
