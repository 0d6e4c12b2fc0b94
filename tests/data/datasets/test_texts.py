"""Text files of every reader: encodings, line ends, and names from other systems and programs."""

import codecs
import unicodedata
from urllib.parse import quote

import numpy as np
import pytest
from layouts import HEIGHT, LAYOUTS, WIDTH, Text, cat, write

from segnet.data import build_dataset
from segnet.errors import DataError

NAMES = ("a.png", "sub/b c.png", "sub/é.png")
IMAGES = {name: np.full((HEIGHT, WIDTH, 3), 50 * number, np.uint8) for number, name in enumerate(NAMES, 1)}
FLAT = {"a.png": IMAGES["a.png"], "é.png": IMAGES["sub/é.png"]}  # of layouts that have no folders inside

ENCODINGS = {
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "UTF-8 BOM": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16 LE": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    "UTF-16 BE": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-32": lambda text: text.encode("utf-32"),
    "blanks": lambda text: text.replace("\n", "  \n\n").encode(),
}

SPELLINGS = {
    "backslashes": lambda folder, name: name.replace("/", "\\"),
    "dot": lambda folder, name: f".\\{name}".replace("/", "\\"),
    "absolute": lambda folder, name: str(folder / name),
    "another computer": lambda folder, name: f"/home/ann/work/{folder.name}/{name}",
    "drive": lambda folder, name: f"C:\\work\\{folder.name}\\{name}".replace("/", "\\"),
    "share": lambda folder, name: f"\\\\nas\\work\\{folder.name}\\{name}".replace("/", "\\"),
    "folder": lambda folder, name: f"{folder.name}/{name}",
    "NFD": lambda folder, name: unicodedata.normalize("NFD", name),
    "query": lambda folder, name: f"{name}?signature=a%2Fb&name=c/d.png",
    "percent": lambda folder, name: quote(name),
    "address": lambda folder, name: f"https://bucket.host/x/{folder.name}/{quote(name)}?signature=a/b",
    "file address": lambda folder, name: f"file:///C:/work/{folder.name}/{quote(name)}",
    "case": lambda folder, name: name.upper(),
    "blanks": lambda folder, name: f" {name}  ",
}
# What gives no name of an image, or pairs by names alone.
SPELLED = [name for name in LAYOUTS if name not in ("roboflow", "supervisely")]


def assert_right(spec, images) -> None:
    for split in ("train", "val"):
        dataset = build_dataset(spec, split)
        samples = [dataset.load(index) for index in range(len(dataset))]
        assert sorted(int(sample.image.max()) for sample in samples) == sorted(
            int(pixels.max()) for pixels in images.values()
        )
        assert all((sample.mask == cat()).all() for sample in samples)


@pytest.fixture(params=LAYOUTS)
def layout(request):
    if request.param == "coco_instances":
        pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    return request.param


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_and_line_end_is_read(layout, encoding, tmp_path):
    images = FLAT if layout == "supervisely" else IMAGES
    assert_right(write(layout, tmp_path, images, Text(encode=ENCODINGS[encoding])), images)


@pytest.mark.parametrize("layout", SPELLED, indirect=True)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_names_from_other_systems_are_found(layout, spelling, tmp_path):
    spec = write(layout, tmp_path, IMAGES, Text(spell=SPELLINGS[spelling]))
    assert_right(spec, IMAGES)


def test_missing_images_of_two_folders_are_refused(tmp_path):
    """The first image exists; the second has only the same name."""
    pytest.importorskip("pycocotools", reason="pycocotools is an optional package, and not installed")
    spell = {"a.png": "/camera1/a.png", "b.png": "/camera2/a.png"}
    images = dict.fromkeys(spell, IMAGES["a.png"])
    spec = write("coco_instances", tmp_path, images, Text(spell=lambda folder, name: spell[name]))
    with pytest.raises(DataError, match=r"images 0 \('/camera1/a.png'\) and 1 \('/camera2/a.png'\) are one file, "):
        build_dataset(spec, "train")


def test_comments_in_lists(layout, tmp_path):
    def with_comment(text: str) -> bytes:
        return text.encode() if text[:1] in "{[0123456789P" else f"# from a tool, version 1\n{text}".encode()

    assert_right(write(layout, tmp_path, FLAT, Text(encode=with_comment)), FLAT)
