"""POST /collect: what is saved, what is refused, and that `dataset=folder` reads it."""

import errno
import io
import json
import os

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from PIL import Image
from served import CLASSES, PNG, Server, Threshold, bomb, check_schema, encoded, error_of, halves

from segnet.classes import Classes, voc_palette
from segnet.data.datasets.folder import Folder

IMAGE = encoded(halves())
LABELS = np.array([[0] * 5 + [1] * 4 + [255]] * 6, np.uint8)
MASK = encoded(LABELS)


@pytest.fixture
def server(tmp_path):
    return Server(collect=tmp_path / "collected", max_bytes=20_000, max_pixels=1000)


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_image_and_mask_are_saved_as_they_are(server):
    answer = server.collect(IMAGE, MASK)
    assert answer.status_code == 200, answer.text
    check_schema("Saved", answer.json())
    assert answer.json() == {
        "name": "street",
        "image": "images/street.png",
        "mask": "masks/street.png",
        "replaced": False,
        "count": 1,
    }
    folder = server.collection.folder
    assert files(folder) == ["images/street.png", "masks/street.png", "segnet.json"]
    assert (folder / "images/street.png").read_bytes() == IMAGE
    mask = Image.open(folder / "masks/street.png")
    assert mask.getpalette()[:9] == [value for color in CLASSES.palette for value in color]
    np.testing.assert_array_equal(np.array(mask), LABELS)
    assert os.stat(folder / "masks/street.png").st_mode == os.stat(folder / "segnet.json").st_mode
    assert list(server.uploads.iterdir()) == []
    assert server.queue.num_taken == 0


def test_the_folder_dataset_reads_upright_images(server):
    """An image with EXIF orientation is kept as it is; its mask is that of the upright image."""
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise
    photo = encoded(halves(), "JPEG", quality=100, exif=exif.tobytes())
    upright = np.zeros((10, 6), np.uint8)
    upright[5:] = 1
    assert "has 10 x 6 pixels, but the upright image has 6 x 10" in error_of(server.collect(photo, MASK), 422)
    for name in ("a.jpg", "b.jpg", "c.png"):
        content = photo if name == "a.jpg" else encoded(np.rot90(halves(), 2 if name == "b.jpg" else 3))
        labels = upright if name != "b.jpg" else LABELS
        assert server.collect(content, encoded(labels), name).status_code == 200
    folder = server.collection.folder
    options = json.loads((folder / "segnet.json").read_text())
    options = {key: value for key, value in options.items() if value is not None}
    dataset = Folder("train", str(folder), **options)
    assert dataset.classes == CLASSES
    samples = [dataset.load(index) for index in range(len(dataset))]
    samples += [other.load(index) for other in [Folder("val", str(folder), **options)] for index in range(len(other))]
    assert len(samples) == 3
    sample = next(sample for sample in samples if "a.jpg" in sample.name)
    assert sample.image.shape == (10, 6, 3)
    np.testing.assert_array_equal(sample.mask, sample.image[:, :, 0] > 100)


def test_a_used_name_gets_a_number_and_nothing_is_overwritten(server):
    others = [encoded(np.full((6, 10, 3), value, np.uint8)) for value in range(3)]
    names = [
        server.collect(content, MASK, name).json()["name"]
        for content, name in zip(others, ["a.png", "A.jpg", "a.tif"], strict=True)
    ]
    assert names == ["a", "A-2", "a-3"]
    for content, name in zip(others, names, strict=True):
        assert (server.collection.folder / "images" / f"{name}.png").read_bytes() == content


def test_the_same_image_is_replaced_only_on_request(server):
    server.collect(encoded(np.zeros((6, 10, 3), np.uint8)), MASK)
    assert server.collect(IMAGE, MASK).json()["name"] == "street-2"
    found = error_of(server.collect(IMAGE, MASK), 409)
    assert found == "this image is collected already, as street-2: replace=street-2 replaces its mask"
    answer = server.collect(IMAGE, encoded(1 - LABELS.clip(0, 1)), replace="street-2").json()
    assert (answer["name"], answer["replaced"], answer["count"]) == ("street-2", True, 2)
    folder = server.collection.folder
    np.testing.assert_array_equal(np.array(Image.open(folder / "masks/street-2.png")), 1 - LABELS.clip(0, 1))
    np.testing.assert_array_equal(np.array(Image.open(folder / "masks/street.png")), LABELS)


@pytest.mark.parametrize("replace", ["street", "none", "../images/street-2", "", ".", "street-2.png", "/etc/passwd"])
def test_replace_must_name_the_same_image(server, replace):
    server.collect(encoded(np.zeros((6, 10, 3), np.uint8)), MASK)
    server.collect(IMAGE, MASK)
    before = files(server.collection.folder)
    assert "no such image" in error_of(server.collect(IMAGE, MASK, replace=replace), 422)
    assert files(server.collection.folder) == before


@pytest.mark.parametrize(
    "name",
    [
        "../../evil.png",
        "/etc/cron.d/evil.png",
        "..\\..\\evil.png",
        "C:\\evil.png",
        ".evil",
        "a/../evil\0.png",
        "evil.png/",
    ],
)
def test_no_name_leaves_the_folder(server, name, tmp_path):
    assert server.collect(IMAGE, MASK, name).json()["name"] == "evil"
    assert files(tmp_path) == ["collected/images/evil.png", "collected/masks/evil.png", "collected/segnet.json"]


@pytest.mark.parametrize(
    ("mask", "status", "message"),
    [
        (
            LABELS.clip(0, 2) + 2,
            422,
            "mask.png: label 3 (24 pixels), 4 (6 pixels) is no class: use 0-2, or 255 to ignore",
        ),
        (LABELS[:5], 422, "mask.png: has 10 x 5 pixels, but the upright image has 10 x 6"),
        (LABELS.T.copy(), 422, "mask.png: has 6 x 10 pixels"),
        (np.full_like(LABELS, 255), 422, "mask.png: all pixels are ignored"),
        (np.add(halves(), [0, 7, 50]), 422, "mask.png: has colors"),
        (b"", 400, "the body has no mask"),
        (b"hello", 422, "mask.png: is not an image"),
        (MASK[:-20], 422, "mask.png: cannot be decoded"),
        (encoded(LABELS, "JPEG"), 422, "mask.png: is JPEG: a mask is a PNG"),
        (encoded(LABELS, "TIFF"), 422, "mask.png: is TIFF: a mask is a PNG"),
        (bomb(9000), 422, "mask.png: has 9000 x 9000 pixels"),
        (b"x" * 20_001, 413, "the mask has more than 0.02 MB"),
        (b"x" * 40_000, 413, "the mask has more than 0.02 MB"),
    ],
)
def test_a_wrong_mask_is_refused_and_leaves_nothing(server, mask, status, message):
    content = mask if isinstance(mask, bytes) else encoded(mask.astype(np.uint8))
    found = error_of(server.collect(IMAGE, content), status)
    assert message in found
    assert files(server.collection.folder) == ["segnet.json"]
    assert list(server.uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("image", "options", "status", "message"),
    [
        (b"hello", {}, 422, "upload: is not an image"),
        (encoded(halves(50, 50)), {}, 413, "50 x 50 pixels"),
        (IMAGE, {"image_bytes": 0}, 400, "image_bytes=0 must be"),
        (IMAGE, {"image_bytes": -5}, 400, "image_bytes=-5 must be"),
        (IMAGE, {"image_bytes": "9" * 5000}, 400, "must be the size"),
        (IMAGE, {"image_bytes": 20_001}, 413, "the image has more than 0.02 MB"),
        (IMAGE, {"image_bytes": len(IMAGE) - 1}, 422, "mask.png"),
        (IMAGE, {"image_byte": 1}, 400, "Did you mean 'image_bytes'?"),
    ],
)
def test_a_wrong_image_or_parameter_is_refused(server, image, options, status, message):
    assert message in error_of(server.collect(image, MASK, **options), status)
    assert files(server.collection.folder) == ["segnet.json"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({**PNG, "Origin": "http://evil.example"}, 403),
        ({**PNG, "Origin": "null"}, 403),
        ({**PNG, "Host": "evil.example"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "multipart/form-data; boundary=x"}, 415),
    ],
)
def test_pages_of_other_sites_cannot_save(server, headers, status):
    error_of(server.collect(IMAGE, MASK, headers=headers), status)
    assert files(server.collection.folder) == ["segnet.json"]


def test_without_the_option_nothing_is_saved():
    assert "--collect FOLDER" in error_of(Server().collect(IMAGE, MASK), 403)
    assert Server().get("/model").json()["collects"] is False
    assert "POST" in error_of(Server().get("/collect"), 405)


def test_without_links_names_are_claimed(server, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr("segnet.serving.new_files.os.link", refuse)
    assert server.collect(IMAGE, MASK).json()["name"] == "street"
    assert server.collect(encoded(halves() + 1), MASK).json()["name"] == "street-2"
    assert (server.collection.folder / "images/street.png").read_bytes() == IMAGE
    assert len(files(server.collection.folder)) == 5


def test_a_full_disk_leaves_nothing(server, monkeypatch):
    placed = []

    def full(source, target):
        placed.append(target)
        if len(placed) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        os.link(source, target)
        return True

    monkeypatch.setattr("segnet.serving.collection.placed", full)
    assert "No space left on device" in error_of(server.collect(IMAGE, MASK), 500)
    assert len(placed) == 2
    assert files(server.collection.folder) == ["segnet.json"]


def test_more_than_256_classes_are_saved_in_16_bits(tmp_path):
    predictor = Threshold()
    predictor.classes = Classes.create([f"c{i}" for i in range(300)], voc_palette(300), 65535)
    server = Server(predictor, collect=tmp_path)
    mask = np.array([[0, 299], [65535, 7]], np.uint16)
    assert server.collect(encoded(halves(2, 2)), encoded(mask)).status_code == 200
    np.testing.assert_array_equal(np.array(Image.open(tmp_path / "masks/street.png")), mask)


def test_the_bytes_of_a_tiff_are_kept(server):
    content = encoded(halves(), "TIFF")
    assert server.collect(content, MASK, "a.png").json()["image"] == "images/a.tif"
    assert (server.collection.folder / "images/a.tif").read_bytes() == content
    assert Image.open(io.BytesIO(content)).size == (10, 6)
