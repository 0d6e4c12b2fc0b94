"""The dataset scan reads every sample once, on all cores, and again only after its files changed."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.cache.fingerprints import dataset_digest
from segnet.data.dataset import FileDataset
from segnet.data.datasets.planes import PlaneLabels
from segnet.data.scan import scan as module
from segnet.data.scan.scan import ScanCache, content_hash, scan_split

THREE = Classes.create(["road", "tree", "sky"], ignore_index=255)
MASKS = [[[0, 0, 1], [255, 2, 2]], [[1, 1, 1], [1, 1, 1]]]


def dataset(folder: Path, masks=MASKS) -> FileDataset:
    """Return a dataset with a noisy image of equal size for each mask."""
    pairs = []
    for number, values in enumerate(masks):
        mask = np.array(values, np.uint8)
        pair = folder / f"{number}_image.png", folder / f"{number}_mask.png"
        noise = np.random.default_rng(number).integers(0, 256, (*mask.shape, 3), np.uint8)
        Image.fromarray(noise).save(pair[0])
        Image.fromarray(mask).save(pair[1])
        pairs.append(pair)
    return FileDataset(pairs, THREE)


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """Record the indices of read samples."""
    seen: list[int] = []
    scan_sample = module.scan_sample

    def counting(data, index):
        seen.append(index)
        return scan_sample(data, index)

    monkeypatch.setattr(module, "scan_sample", counting)
    return seen


def test_a_scan_finds_size_and_pixels_per_label_in_order(tmp_path):
    report = scan_split(dataset(tmp_path), "train")
    assert [finding.name for finding in report.findings] == [str(tmp_path / f"{n}_image.png") for n in (0, 1)]
    assert [finding.size for finding in report.findings] == [(2, 3), (2, 3)]
    assert [finding.pixels for finding in report.findings] == [{0: 2, 1: 1, 2: 2, 255: 1}, {1: 6}]


def test_an_unreadable_sample_is_a_finding_with_its_file(tmp_path):
    data = dataset(tmp_path, [[[0, 7]], [[0, 1]]])
    data.pairs[1][0].write_bytes(b"not an image")
    first, second = scan_split(data, "train").findings
    assert first.problem.startswith(f"{tmp_path / '0_mask.png'}: label 7 (1 pixels)")
    assert str(tmp_path / "1_image.png") in second.problem


def test_cached_findings_are_not_read_again(tmp_path, reads):
    data, spec = dataset(tmp_path), {"name": "folder"}
    before = scan_split(data, "train", ScanCache(spec, THREE, tmp_path / "cache"))
    assert sorted(reads) == [0, 1]
    after = scan_split(data, "train", ScanCache(spec, THREE, tmp_path / "cache"))
    assert sorted(reads) == [0, 1]
    assert after == before


def test_a_changed_file_or_configuration_is_read_again(tmp_path, reads):
    data, spec = dataset(tmp_path), {"name": "folder"}
    scan_split(data, "train", ScanCache(spec, THREE, tmp_path / "cache"))
    mask = data.pairs[1][1]
    status = mask.stat()
    Image.fromarray(np.array([[2, 2, 2], [2, 2, 2]], np.uint8)).save(mask)
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    reads.clear()
    report = scan_split(data, "train", ScanCache(spec, THREE, tmp_path / "cache"))
    assert reads == [1]
    assert report.findings[1].pixels == {2: 6}
    others = Classes.create(["road", "tree", "grass"], ignore_index=255)
    for memory in (
        ScanCache({"name": "folder", "id_map": {0: 1}}, THREE, tmp_path / "cache"),
        ScanCache(spec, others, tmp_path / "cache"),
    ):
        reads.clear()
        scan_split(data, "train", memory)
        assert sorted(reads) == [0, 1]


def test_problems_are_not_cached(tmp_path, reads):
    data = dataset(tmp_path, [[[0, 7]]])
    for _ in range(2):
        assert scan_split(data, "train", ScanCache({}, THREE, tmp_path / "cache")).errors
    assert reads == [0, 0]


@pytest.mark.parametrize("content", ["", "[]", '{"x": 1}', "{"])
def test_a_damaged_scan_cache_is_ignored(tmp_path, content):
    data = dataset(tmp_path)
    good = scan_split(data, "train", ScanCache({}, THREE, tmp_path / "cache"))
    [stored] = (tmp_path / "cache").iterdir()
    stored.write_text(content)
    assert scan_split(data, "train", ScanCache({}, THREE, tmp_path / "cache")) == good


def test_a_scan_works_without_a_writable_cache_folder(tmp_path):
    (tmp_path / "cache").write_text("a file in its place")
    assert len(scan_split(dataset(tmp_path), "train", ScanCache({}, THREE, tmp_path / "cache")).readable) == 2


def test_content_hashes_are_equal_only_for_equal_dtype_shape_and_values():
    values = np.arange(6, dtype=np.uint8)
    assert content_hash(values.reshape(2, 3)) == content_hash(np.asfortranarray(values.reshape(2, 3)))
    others = [values.reshape(3, 2), values.reshape(2, 3).astype(np.int32), values.reshape(2, 3)[::-1]]
    assert len({content_hash(other) for other in others} | {content_hash(values.reshape(2, 3))}) == 4


def test_a_dataset_with_an_id_map_of_numbers_and_words_can_be_cached(tmp_path):
    spec = {"name": "folder", "id_map": {0: "ignore", 1: 0, "other": "same"}}
    ScanCache(spec, THREE, tmp_path)
    turned = {"id_map": {"other": "same", 1: 0, 0: "ignore"}, "name": "folder"}
    assert (
        dataset_digest(spec, THREE)
        == dataset_digest(turned, THREE)
        != dataset_digest({**spec, "id_map": {0: 1}}, THREE)
    )


def test_overlapping_classes_are_counted_by_plane(tmp_path):
    planes = np.zeros((2, 2, 3), np.uint8)
    planes[0, 0], planes[1, :, 0], planes[:, 1, 2], planes[0, 1, 1] = 1, 1, 255, 255
    np.save(tmp_path / "mask.npy", planes)
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "image.png")
    classes = Classes.create(["disk", "ring"], task="multilabel")
    pairs = [(tmp_path / "image.png", tmp_path / "mask.npy")]
    labels = PlaneLabels(classes, {0: 0, 1: 1, 255: "ignore"})
    report = scan_split(FileDataset(pairs, classes, labels), "train", progress=False)
    [finding] = report.readable
    assert finding.pixels == {0: 3, 1: 2, 255: 1}  # one pixel is ignored in all planes
    assert finding.labeled(255) == 5
    assert report.num_pixels == 6
    assert report.labeled_where_present == {0: 5, 1: 5, 255: 5}
    assert report.errors == []
    np.save(tmp_path / "mask.npy", np.full((2, 2, 3), 255, np.uint8))
    report = scan_split(FileDataset(pairs, classes, labels), "train", progress=False)
    assert "has no labeled pixel" in report.errors[0]
    np.save(tmp_path / "mask.npy", np.zeros((2, 2, 3), np.uint8))
    report = scan_split(FileDataset(pairs, classes, labels), "train", progress=False)
    assert report.errors == []
    assert report.missing == ["disk", "ring"]
