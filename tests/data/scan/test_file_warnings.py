"""Further pages of images, and class ids that masks declare to be no data, are reported."""

import json
from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

from segnet.config import DataConfig
from segnet.data import build_dataset
from segnet.data.scan.finding import Finding
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import inspect

SHAPE = (8, 10)


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        for name in ("a", "b"):
            Image.fromarray(rng.integers(0, 256, (*SHAPE, 3), np.uint8)).save(tmp_path / f"images/{split}/{name}.png")
            Image.fromarray(rng.integers(0, 2, SHAPE, np.uint8)).save(tmp_path / f"masks/{split}/{name}.png")
    return tmp_path


def warnings(root, **options) -> list[str]:
    spec = {"name": "folder", "root": str(root), "class_names": ["bg", "a"], **options}
    config = InspectConfig(dataset=spec, num_images=0, data=DataConfig(crop_size=[8, 8]))
    found = inspect(config, root / "inspection").warnings
    assert inspect(config, root / "inspection").warnings == found  # from the scan cache
    return found


@pytest.mark.parametrize("suffix", ["gif", "tif", "webp", "apng"])
def test_images_of_several_pages_are_counted(root, suffix):
    frames = [Image.fromarray(np.full((*SHAPE, 3), value, np.uint8)) for value in (9, 90, 200)]
    (root / "images/train/b.png").unlink()
    path = root / f"images/train/b.{suffix}"
    frames[0].save(path, "PNG" if suffix == "apng" else None, save_all=True, append_images=frames[1:])
    expected = f"train: 1 image has several pages or frames, of which the first is read: {path}"
    assert [text for text in warnings(root) if "several pages" in text] == [expected]


def test_pages_that_are_bands_are_not_counted(root):
    pages = [Image.fromarray(np.full(SHAPE, value, np.uint8)) for value in (9, 90, 200, 7)]
    for split in ("train", "val"):
        for name in ("a", "b"):
            (root / f"images/{split}/{name}.png").unlink()
            pages[0].save(root / f"images/{split}/{name}.tif", save_all=True, append_images=pages[1:])
    assert not [text for text in warnings(root, channels=4) if "several pages" in text]


@pytest.mark.parametrize(
    ("nodata", "is_class"), [("0", True), ("1", True), ("255", False), ("nan", False), ("0.5", False)]
)
def test_a_class_that_is_the_nodata_value_is_reported(root, nodata, is_class):
    tifffile = pytest.importorskip("tifffile")
    mask = np.asarray(Image.open(root / "masks/train/a.png"))
    (root / "masks/train/a.png").unlink()
    tifffile.imwrite(root / "masks/train/a.tif", mask, extratags=[(42113, "s", 0, nodata, True)])
    found = [text for text in warnings(root) if "no data" in text]
    assert len(found) == is_class
    if is_class:
        name = ["bg", "a"][int(nodata)]
        assert found[0].startswith(f"train: 1 mask declares {nodata}, class '{name}', to be no data, so its pixels are")
        assert f'"dataset.id_map={{{nodata}:{nodata},other:same}}" keeps them' in found[0]
        assert not [text for text in warnings(root, id_map={nodata: int(nodata), "other": "same"}) if "no data" in text]
        spec = {"name": "folder", "root": str(root), "class_names": ["bg", "a"]}
        kept = build_dataset(spec | {"id_map": {nodata: int(nodata), "other": "same"}}, "train").load(0)
        np.testing.assert_array_equal(kept.mask, mask)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("case", ["labeled", "ignored", "absent", "undeclared"])
def test_labeled_pixels_without_data_of_an_image_are_reported(root, dtype, case):
    tifffile = pytest.importorskip("tifffile")
    image = np.full((*SHAPE, 3), 9, dtype)
    image[0, 0] = 9 if case == "absent" else 7
    tag = [] if case == "undeclared" else [(42113, "s", 0, "7", True)]
    (root / "images/train/a.png").unlink()
    path = root / "images/train/a.tif"
    tifffile.imwrite(path, image, photometric="rgb", extratags=tag)
    if case == "ignored":
        mask = np.asarray(Image.open(root / "masks/train/a.png")).copy()
        mask[0, 0] = 255
        Image.fromarray(mask).save(root / "masks/train/a.png")
    found = [text for text in warnings(root, value_range=[8, 12]) if "nodata" in text]
    text = "labeled pixels of the nodata value of the file, which are read as data: dataset=geotiff ignores them"
    assert found == ([f"train: 1 image has {text}: {path}"] if case == "labeled" else [])


def test_findings_of_older_caches_are_restored():
    finding = Finding("a", size=(2, 3), pixels={0: 6}, num_pages=4, nodata=1, has_nodata=True)
    record = json.loads(json.dumps(astuple(finding)))
    assert Finding.restored(record) == finding
    assert not Finding.restored(record[:-1]).has_nodata
    assert Finding.restored(record[:-3]).num_pages == 1
