"""CamVid: generated files in its layout, and the real dataset if available."""

from pathlib import Path

import numpy as np
import pytest

from segnet.class_sets import CAMVID_CLASSES
from segnet.data.datasets.camvid import CamVid
from segnet.errors import ConfigError, DataError

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "camvid"
NAMES = ["0001TP_006690", "0001TP_006720", "Seq05VD_f00000"]


@pytest.fixture
def root(tmp_path, write_pairs):
    """A tree with train (listed backwards, with the tutorial author's paths) and val (without a list)."""
    write_pairs(tmp_path / "train", tmp_path / "trainannot", NAMES)
    write_pairs(tmp_path / "val", tmp_path / "valannot", NAMES[:2])
    write_list(tmp_path / "train.txt", reversed(NAMES))
    return tmp_path


def write_list(path: Path, names) -> None:
    lines = [f"/SegNet/CamVid/train/{name}.jpg /SegNet/CamVid/trainannot/{name}.png\n" for name in names]
    path.write_text("".join(lines) + "\n")


def stems(dataset: CamVid) -> list[str]:
    return [image.stem for image, _ in dataset.pairs]


def test_a_list_determines_the_images_and_their_order(root):
    dataset = CamVid("train", str(root))
    assert stems(dataset) == NAMES[::-1]
    assert dataset.pairs[0] == (root / "train" / f"{NAMES[2]}.png", root / "trainannot" / f"{NAMES[2]}.png")
    assert dataset.load(0).mask.max() == 2


def test_a_list_can_omit_images(root):
    write_list(root / "train.txt", NAMES[1:2])
    assert stems(CamVid("train", str(root))) == NAMES[1:2]


def test_images_missing_from_a_list_are_counted(root):
    write_list(root / "train.txt", NAMES[1:2])
    line = f"{root}/train: 2 images left out, train.txt does not name it: {NAMES[0]}.png, {NAMES[2]}.png"
    assert CamVid("train", str(root)).notes.lines() == [line]


def test_a_train_split_can_hold_the_val_images_too(root):
    both = CamVid("train", str(root), train_splits=["train", "val"])
    assert stems(both) == [*NAMES[::-1], *NAMES[:2]]
    assert both.pairs[3][0].parent.name == "val"
    assert stems(CamVid("val", str(root), train_splits=["train", "val"])) == NAMES[:2]


@pytest.mark.parametrize("splits", [[], ["train", "train"], ["trainval"]])
def test_impossible_train_splits_are_refused(root, splits):
    with pytest.raises(ConfigError, match=r"^dataset\.train_splits=\[.*\]: must be one or more of train, val, test"):
        CamVid("train", str(root), train_splits=splits)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_lists_of_other_systems(root, encoding):
    lines = [f"C:\\SegNet\\train\\{name}.PNG C:\\SegNet\\trainannot\\{name}.png\r\n" for name in NAMES]
    (root / "train.txt").write_text("".join(lines), encoding=encoding)
    assert stems(CamVid("train", str(root))) == NAMES


def test_names_that_are_not_unique_are_refused(root, write_pairs):
    write_list(root / "train.txt", [NAMES[0], NAMES[0]])
    with pytest.raises(DataError, match=rf"train\.txt: names '{NAMES[0]}' twice"):
        CamVid("train", str(root))
    write_pairs(root / "train" / "x", root / "trainannot" / "x", NAMES[:1])
    with pytest.raises(DataError, match="has the same name as"):
        CamVid("train", str(root))


def test_without_a_list_all_images_are_used(root):
    assert stems(CamVid("val", str(root))) == NAMES[:2]


def test_a_list_of_missing_images_is_refused(root):
    write_list(root / "train.txt", [*NAMES, "gone", "lost"])
    with pytest.raises(DataError, match=r"names 2 images that do not exist, first 'gone'") as caught:
        CamVid("train", str(root))
    assert str(caught.value).startswith(str(root / "train.txt"))


@pytest.mark.parametrize(("content", "message"), [(b"\n \n", "has no line"), (b"\xff\xfe\x00", "cannot be read as")])
def test_an_invalid_list_is_refused(root, content, message):
    (root / "train.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        CamVid("train", str(root))


def test_missing_folders_are_named(root):
    with pytest.raises(DataError, match=r"the test images of dataset\.root") as caught:
        CamVid("test", str(root))
    assert str(root / "test") in str(caught.value)
    (root / "test").mkdir()
    with pytest.raises(DataError, match=r"the test masks of dataset\.root"):
        CamVid("test", str(root))
    with pytest.raises(DataError, match=r"no such folder \(dataset\.root\)"):
        CamVid("train", str(root / "nowhere"))


def test_unknown_split_is_refused(root):
    with pytest.raises(ConfigError, match="split=all is unknown: choose from train, val, test"):
        CamVid("all", str(root))


def test_classes_match_the_tutorial():
    assert len(CAMVID_CLASSES.names) == len(CAMVID_CLASSES.palette) == 11
    assert CAMVID_CLASSES.ignore_index == 11
    assert len(set(CAMVID_CLASSES.palette)) == 11


@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not in {REAL}")
@pytest.mark.parametrize(("split", "length"), [("train", 367), ("val", 101)])
def test_real_camvid_loads(split, length):
    dataset = CamVid(split, str(REAL))
    assert len(dataset) == length
    seen = set()
    for index in range(length):
        sample = dataset.load(index)
        assert sample.image.shape == (360, 480, 3)
        assert sample.mask.shape == (360, 480)
        seen |= set(np.unique(sample.mask).tolist())
    assert seen == set(range(12))
