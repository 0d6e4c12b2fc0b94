"""CVAT's export "Segmentation mask 1.1", in its layout."""

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.cvat import CVAT
from segnet.errors import ConfigError, DataError

LABEL_MAP = """# label:color_rgb:parts:actions
background:0,0,0::
crack:250,50,83::
road sign:50,183,250:post,plate:
"""
COLORS = [(0, 0, 0), (250, 50, 83), (50, 183, 250)]


def write(root, subsets: dict[str, list[str]]) -> None:
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "labelmap.txt").write_text(LABEL_MAP)
    for subset, names in subsets.items():
        (root / "ImageSets" / "Segmentation" / f"{subset}.txt").write_text("".join(f"{name}\n" for name in names))
        for number, name in enumerate(names):
            for folder in ("JPEGImages", "SegmentationClass"):
                (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (3, 1)).save(root / "JPEGImages" / f"{name}.{'png' if number % 2 else 'jpg'}")
            Image.fromarray(np.array([COLORS], np.uint8)).save(root / "SegmentationClass" / f"{name}.png")


def names(dataset: CVAT) -> list[str]:
    return [image.stem for image, _ in dataset.pairs]


def test_classes_and_colors_are_the_export_s(tmp_path):
    write(tmp_path, {"default": ["a", "b", "sub/c", "d", "e"]})
    train, val = CVAT("train", str(tmp_path)), CVAT("val", str(tmp_path))
    assert train.classes.names == ("background", "crack", "road sign")
    assert train.classes.palette == tuple(COLORS)
    assert sorted(names(train) + names(val)) == ["a", "b", "c", "d", "e"]
    assert len(val) == 1
    assert train.load(0).mask.tolist() == [[0, 1, 2]]


def test_labels_may_be_ignored(tmp_path):
    write(tmp_path, {"default": ["a", "b"]})
    dataset = CVAT("train", str(tmp_path), ignore=["background"])
    assert dataset.classes.names == ("crack", "road sign")
    assert dataset.load(0).mask.tolist() == [[255, 0, 1]]
    with pytest.raises(ConfigError, match=r"'backgruond' is no label of the export\. Did you mean 'background'"):
        CVAT("train", str(tmp_path), ignore=["backgruond"])


def test_subsets_are_the_splits(tmp_path):
    write(tmp_path, {"Train": ["b", "a"], "Validation": ["c"]})
    assert names(CVAT("train", str(tmp_path))) == ["b", "a"]
    assert names(CVAT("val", str(tmp_path))) == ["c"]
    with pytest.raises(DataError, match=r"has no test\.txt"):
        CVAT("test", str(tmp_path))


def test_faults_are_named(tmp_path):
    write(tmp_path, {"default": ["a", "b"]})
    Image.new("RGB", (3, 1), (1, 1, 1)).save(tmp_path / "SegmentationClass" / "a.png")
    Image.new("RGB", (3, 1), (1, 1, 1)).save(tmp_path / "SegmentationClass" / "b.png")
    with pytest.raises(DataError, match=r"color \(1, 1, 1\) \(3 pixels\)"):
        CVAT("train", str(tmp_path)).load(0)
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"names 'a', which is not in .* export with 'Save images'"):
        CVAT("train", str(tmp_path))
    (tmp_path / "labelmap.txt").write_text("background:0,0::\n")
    with pytest.raises(DataError, match=r"'background:0,0::' is not name:red,green,blue"):
        CVAT("train", str(tmp_path))


def test_a_sample_is_remembered_by_its_files_and_the_label_map(tmp_path):
    write(tmp_path, {"Train": ["a"]})
    files = CVAT("train", str(tmp_path)).files(0)
    assert [file.name for file in files] == ["a.jpg", "a.png", "labelmap.txt"]
