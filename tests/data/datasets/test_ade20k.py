"""ADE20K's scene parsing benchmark in its layout."""

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.ade20k import ADE20K
from segnet.errors import ConfigError, DataError


@pytest.fixture
def root(tmp_path):
    top = tmp_path / "ADEChallengeData2016"
    for folder, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        (top / "images" / folder).mkdir(parents=True)
        (top / "annotations" / folder).mkdir(parents=True)
        Image.new("RGB", (151, 1)).save(top / "images" / folder / f"{name}.jpg")
        Image.fromarray(np.arange(151, dtype=np.uint8)[None]).save(top / "annotations" / folder / f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "ADEChallengeData2016"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_value_0_is_ignored_and_classes_start_at_0(root, split, inner):
    dataset = ADE20K(split, str(root / inner))
    mask = dataset.load(0).mask
    assert mask[0].tolist() == [255, *range(150)]
    names = [dataset.classes.names[mask[0, label]] for label in (1, 13, 150)]
    assert names == ["wall", "person", "flag"]  # objectInfo150


def test_faults_are_named(root):
    with pytest.raises(ConfigError, match="choose from train, val"):
        ADE20K("test", str(root))
    with pytest.raises(DataError, match=r"images: no such folder \(ADE20K's images\)"):
        ADE20K("train", str(root / "ADEChallengeData2016" / "images"))
    path = root / "ADEChallengeData2016" / "annotations" / "training" / "ADE_train_00000001.png"
    Image.new("L", (151, 1), 151).save(path)
    with pytest.raises(DataError, match=r"label 151 \(151 pixels\)"):
        ADE20K("train", str(root)).load(0)
