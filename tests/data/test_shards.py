"""Samples in tar files: lossless, damage is detected, and WebDataset's reader can read them."""

import io
import json
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.dataset import Sample
from segnet.data.shards import pack, sample_offsets, tar_writer, unpack
from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.files import read_image

pytest.importorskip("webdataset", reason="webdataset is an optional package, and not installed")

THREE = Classes.create(["road", "tree", "sky"])
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (20, 30, 3), np.uint8)
MASK = RNG.integers(0, 3, (20, 30), np.uint8)


def shard_of(path, *packed):
    """Write a shard; return the offsets of its samples."""
    with open(path, "wb") as file, tar_writer(file) as writer:
        for index, members in enumerate(packed):
            writer.write({"__key__": f"{index:09d}", **members})
    return sample_offsets(path)


def through(tmp_path, sample, source=None, classes=THREE):
    """Pack and unpack a sample; return it, and its members."""
    members = pack(sample, source)
    offsets = shard_of(tmp_path / "x.tar", members)
    data = (tmp_path / "x.tar").read_bytes()[offsets[0] : offsets[1]]
    return unpack(data, "x.tar", classes, sample.image.shape[2]), members


def same(one, other):
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.mask, other.mask)
    assert (one.image.dtype, one.mask.dtype, one.name) == (other.image.dtype, other.mask.dtype, other.name)


@pytest.mark.parametrize(("suffix", "member"), [("jpg", "jpg"), ("JPEG", "jpg"), ("png", "png"), ("webp", "webp")])
def test_an_image_file_is_copied_byte_for_byte(tmp_path, suffix, member):
    source = tmp_path / f"a.{suffix}"
    Image.fromarray(NOISE).save(source)
    sample = Sample(read_image(source), MASK, str(source))
    back, members = through(tmp_path, sample, source)
    same(back, sample)
    assert members[member] == source.read_bytes()
    assert set(members) == {member, "mask.png", "json"}


def test_a_photo_with_exif_rotation_is_stored_upright(tmp_path):
    source = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(NOISE).save(source, exif=exif)
    sample = Sample(read_image(source), MASK.T.copy(), "a")
    assert sample.image.shape == (30, 20, 3)
    back, members = through(tmp_path, sample, source)
    same(back, sample)
    assert members["jpg"] == source.read_bytes()


def test_pixels_that_differ_from_the_file_are_stored_without_loss(tmp_path):
    """A window of an image, 16-bit values, and a file that is not an image."""
    Image.fromarray(NOISE).save(tmp_path / "whole.jpg")
    window = read_image(tmp_path / "whole.jpg")[2:9, 3:8]
    Image.fromarray(NOISE[:, :, 0] * np.uint16(257)).save(tmp_path / "deep.png")
    (tmp_path / "list.jpg").write_text("not an image")
    for image, source in (
        (window, tmp_path / "whole.jpg"),
        (read_image(tmp_path / "deep.png"), tmp_path / "deep.png"),
        (NOISE, tmp_path / "list.jpg"),
        (NOISE, tmp_path / "gone.jpg"),
        (NOISE, tmp_path / "a.tif"),
        (NOISE, None),
    ):
        sample = Sample(image, MASK[: image.shape[0], : image.shape[1]], "a")
        back, members = through(tmp_path, sample, source)
        same(back, sample)
        assert "png" in members


@pytest.mark.parametrize(
    ("channels", "dtype", "member"),
    [
        (1, np.uint8, "png"),
        (4, np.uint8, "png"),
        (2, np.uint8, "npz"),
        (8, np.uint8, "npz"),
        (1, np.float32, "npz"),
        (8, np.float32, "npz"),
    ],
)
def test_images_of_any_channels(tmp_path, channels, dtype, member):
    image = (RNG.random((20, 30, channels)) * 255).astype(dtype)
    sample = Sample(image, MASK, "a")
    back, members = through(tmp_path, sample)
    same(back, sample)
    assert member in members


def test_a_16_bit_gray_file_keeps_its_precision(tmp_path):
    source = tmp_path / "deep.png"
    Image.fromarray(RNG.integers(0, 65536, (20, 30)).astype(np.uint16)).save(source)
    sample = Sample(read_bands(source, 1), MASK, "a")
    assert sample.image.dtype == np.float32
    same(through(tmp_path, sample, source)[0], sample)


def test_masks_of_300_classes(tmp_path):
    classes = Classes.create([f"class {number}" for number in range(300)], ignore_index=65535)
    mask = RNG.integers(0, 300, (20, 30)).astype(np.int32)
    mask[0, 0] = 65535
    sample = Sample(NOISE, mask, "a")
    same(through(tmp_path, sample, classes=classes)[0], sample)


def test_the_same_samples_give_the_same_bytes(tmp_path):
    packed = [pack(Sample(NOISE, MASK, name), None) for name in "ab"]
    for name in ("one.tar", "two.tar"):
        shard_of(tmp_path / name, *packed)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_webdataset_s_reader_reads_a_shard(tmp_path):
    import webdataset

    samples = [Sample(NOISE, np.full((20, 30), label, np.uint8), f"image {label}") for label in range(3)]
    shard_of(tmp_path / "x.tar", *(pack(sample, None) for sample in samples))
    read = list(webdataset.WebDataset(str(tmp_path / "x.tar"), shardshuffle=False).decode("rgb8"))
    assert [sample["json"]["name"] for sample in read] == [sample.name for sample in samples]
    for theirs, sample in zip(read, samples, strict=True):
        np.testing.assert_array_equal(theirs["png"], sample.image)
        np.testing.assert_array_equal(theirs["mask.png"][:, :, 0], sample.mask)


def test_each_sample_is_read_from_its_own_bytes(tmp_path):
    samples = [Sample(NOISE[: 5 + n, :7], MASK[: 5 + n, :7], f"image {n}") for n in range(4)]
    offsets = shard_of(tmp_path / "x.tar", *(pack(sample, None) for sample in samples))
    data = (tmp_path / "x.tar").read_bytes()
    assert len(offsets) == 5
    assert offsets[0] == 0
    for number in (2, 0, 3, 1):
        part = data[offsets[number] : offsets[number + 1]]
        same(unpack(part, "x.tar", THREE, 3), samples[number])


@pytest.mark.parametrize("seed", range(10))
def test_a_changed_byte_is_detected_or_has_no_effect(tmp_path, seed):
    sample = Sample(NOISE, MASK, "a")
    source = tmp_path / "a.jpg"
    Image.fromarray(NOISE).save(source)
    sample.image = read_image(source)
    offsets = shard_of(tmp_path / "x.tar", pack(sample, source))
    data = (tmp_path / "x.tar").read_bytes()[: offsets[1]]
    errors = []
    for place in np.random.default_rng(seed).integers(0, len(data), 40):
        changed = bytearray(data)
        changed[place] ^= 0x55
        try:
            back = unpack(bytes(changed), "x.tar (sample 0)", THREE, 3)
        except DataError as error:
            errors.append(str(error))
        else:
            np.testing.assert_array_equal(back.image, sample.image)
            np.testing.assert_array_equal(back.mask, sample.mask)
    assert errors
    assert all(error.startswith("x.tar (sample 0): is damaged") and "\n" not in error for error in errors)


@pytest.mark.parametrize("data", [b"", b"\0" * 1024, b"<html>404</html>" * 100])
def test_invalid_sample_bytes_are_refused(data):
    with pytest.raises(DataError, match=r"x\.tar: is damaged"):
        unpack(data, "x.tar", THREE, 3)


def test_a_tar_of_another_program_is_refused(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in (("a.jpg", b"x"), ("a.json", b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(DataError, match=r"x\.tar: is damaged, or not the shard"):
        unpack((tmp_path / "x.tar").read_bytes(), "x.tar", THREE, 3)


def test_labels_unknown_to_the_index_are_refused(tmp_path):
    two = Classes.create(["road", "tree"])
    with pytest.raises(DataError, match=r"x\.tar: label 2 \(\d+ pixels\) is none of the 2 classes"):
        through(tmp_path, Sample(NOISE, MASK, "a"), classes=two)


# The index


def npz(header: dict, data: bytes) -> bytes:
    """Return an NPZ file of one array with an arbitrary header."""
    array = io.BytesIO()
    np.lib.format.write_array_header_1_0(array, header)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("image.npy", array.getvalue() + data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20, 8)}, 10),
        ({"descr": "|u1", "fortran_order": False, "shape": (2, 3, 8)}, 10**7),
        ({"descr": "|u1", "fortran_order": False, "shape": (2, 3, 8)}, 47),
        ({"descr": "|u1", "fortran_order": True, "shape": (2, 3, 8)}, 48),
        ({"descr": "<i8", "fortran_order": False, "shape": (2, 3, 8)}, 384),
        ({"descr": "|u1", "fortran_order": False, "shape": (0, 3, 8)}, 0),
        ({"descr": "|u1", "fortran_order": False, "shape": (48,)}, 48),
    ],
)
def test_an_invalid_array_is_refused_before_it_is_unpacked(tmp_path, header, size):
    data, mask = npz(header, b"\0" * size), io.BytesIO()
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(mask, "PNG")
    checksums = {"npz": zlib.crc32(data), "mask.png": zlib.crc32(mask.getvalue())}
    description = json.dumps({"name": "a", "crc32": checksums}).encode()
    offsets = shard_of(tmp_path / "x.tar", {"npz": data, "mask.png": mask.getvalue(), "json": description})
    with pytest.raises(DataError, match="is damaged"):
        unpack((tmp_path / "x.tar").read_bytes()[: offsets[1]], "x.tar", THREE, 8)


def test_planes_of_several_classes(tmp_path):
    classes = Classes.create(["a", "b", "c"], task="multilabel")
    planes = RNG.choice(np.array([0, 1, 255], np.uint8), (3, 20, 30))
    sample = Sample(NOISE, planes, "a")
    back, members = through(tmp_path, sample, classes=classes)
    same(back, sample)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(members["mask.png"]))), planes.reshape(60, 30))
    for wrong in (planes[:2], np.where(planes == 0, np.uint8(7), planes)):
        with pytest.raises(DataError, match=r"x\.tar: is damaged"):
            through(tmp_path, Sample(NOISE, wrong, "a"), classes=classes)
