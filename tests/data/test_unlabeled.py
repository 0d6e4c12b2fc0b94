"""Images without masks: their files, and what is refused or warned about before the first step."""

import os
import shutil

import numpy as np
import pytest
from photos import write_photos
from PIL import Image

from segnet.config import ConsistencyConfig, DataConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.datasets.folder import Folder
from segnet.data.semi_supervised import UnlabeledStream
from segnet.data.unlabeled import UnlabeledImages
from segnet.errors import ConfigError, DataError

NAMES = ["background", "shape"]


@pytest.fixture
def root(tmp_path):
    """A dataset of files, with the folder ``photos`` of five images."""
    for split, count in (("train", 3), ("val", 2)):
        photos = write_photos(tmp_path / "images" / split, count, seed=len(split))
        (tmp_path / "masks" / split).mkdir(parents=True)
        for path in photos.iterdir():
            mask = np.zeros((40, 32), np.uint8)
            mask[: 10 + int(path.stem)] = 1
            Image.fromarray(mask).save(tmp_path / "masks" / split / path.name)
    write_photos(tmp_path / "photos", 5)
    return tmp_path


def images(root, *sources):
    return UnlabeledImages([str(root / source) for source in sources], Folder("train", str(root), class_names=NAMES))


def checked(root, source="photos", check=True, caplog=None, **options):
    spec = {"name": "folder", "root": str(root), "class_names": NAMES}
    stream = UnlabeledStream(images(root, source), ConsistencyConfig())
    data = DataConfig(batch_size=2, crop_size=[32, 32], num_workers=0, check=check)
    module = SegmentationDataModule(spec, data, (0.5,) * 3, 0, unlabeled=stream, **options)
    with caplog.at_level("INFO"):
        module.check()
    return [message for message in caplog.messages if "unlabeled" in message]


def test_folders_globs_and_files_are_listed_each_file_once(root):
    (root / "photos" / "notes.txt").write_text("no image")
    found = images(root, "photos", "photos/0[12].png", "images/train/00.png")
    assert [path.name for path in found.paths] == ["00.png", "01.png", "02.png", "03.png", "04.png", "00.png"]
    assert found.notes.lines() == [f"{root / 'photos'}: 1 file left out, no image by its ending: notes.txt"]
    sample = found.load(1)
    assert np.array_equal(sample.image, np.asarray(Image.open(root / "photos" / "01.png")))
    assert (sample.mask == found.classes.ignore_index).all()


@pytest.mark.parametrize(
    ("source", "reason"),
    [("nowhere", "no such file or folder"), ("photos/*.jpg", "no image matches"), ("empty", "has no image")],
)
def test_a_source_without_images_is_refused(root, source, reason):
    (root / "empty").mkdir()
    with pytest.raises(DataError, match=rf"unlabeled=.*{reason}"):
        images(root, source)


def test_an_unreadable_image_is_named_before_the_first_step(root, caplog):
    (root / "photos" / "03.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"photos/03\.png"):
        checked(root, caplog=caplog)


def test_masks_among_the_images_are_refused(root, caplog):
    with pytest.raises(DataError, match=r"masks/train/00\.png is a mask of the train split"):
        checked(root, "masks", caplog=caplog)


@pytest.mark.parametrize("check", [True, False])
def test_images_of_the_val_split_give_a_warning(root, caplog, check):
    assert checked(root, check=check, caplog=caplog) == []
    if check:  # a copy under another name has the same pixels
        shutil.copy(root / "images" / "val" / "01.png", root / "photos" / "copy.png")
    else:  # files are not read: a link has the same path
        os.symlink(root / "images" / "val" / "01.png", root / "photos" / "copy.png")
    [line] = checked(root, check=check, caplog=caplog)
    assert "1 unlabeled image are images of the val split" not in line
    assert "1 unlabeled image is also an image of the val split" in line
    assert "copy.png" in line


def test_overfitting_and_a_batch_without_images_are_refused(root, caplog):
    with pytest.raises(ConfigError, match=r"trainer\.overfit_batches"):
        checked(root, caplog=caplog, fixed_order=True)
    with pytest.raises(ConfigError, match=r"consistency\.batch_size=0 must be 1 or more"):
        UnlabeledStream(images(root, "photos"), ConsistencyConfig(batch_size=0))
    with pytest.raises(ConfigError, match=r"consistency\.cutmix=2 must be a probability"):
        UnlabeledStream(images(root, "photos"), ConsistencyConfig(cutmix=2))
