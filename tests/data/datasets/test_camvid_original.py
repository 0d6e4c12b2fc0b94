"""CamVid's original frames: colors to classes, frames to splits."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.class_sets import CAMVID_CLASSES
from segnet.data.datasets.camvid_original import COLOR_MAP, CamVidOriginal, split_of
from segnet.errors import DataError

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "camvid"
FRAMES = {"0001TP_006690": "train", "0016E5_07959": "val", "0001TP_008550": "test", "Seq05VD_f00000": "test"}


def write(images: Path, masks: Path, name: str, colors: list[tuple[int, int, int]]) -> None:
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (len(colors), 1)).save(images / f"{name}.png")
    Image.fromarray(np.array([colors], np.uint8)).save(masks / f"{name}_L.png")


@pytest.fixture
def root(tmp_path):
    for name in FRAMES:
        # Sky, Bridge, TrafficCone, LaneMkgsDriv, Sidewalk, VegetationMisc, TrafficLight, Fence, Train, Child, Void
        colors = [(128, 128, 128), (0, 128, 64), (0, 0, 64), (128, 0, 192), (0, 0, 192), (192, 192, 0), (0, 64, 64)]
        colors += [(64, 64, 128), (192, 64, 128), (192, 128, 64), (192, 0, 192), (0, 0, 0)]
        write(tmp_path / "701_StillsRaw_full", tmp_path / "LabeledApproved_full", name, colors)
    return tmp_path


def test_colors_are_converted_to_the_eleven_classes(root):
    sample = CamVidOriginal("val", str(root)).load(0)
    assert sample.mask[0].tolist() == [*range(11), CAMVID_CLASSES.ignore_index]


def test_frames_are_divided_as_in_the_tutorial(root):
    for split in ("train", "val", "test"):
        stems = [image.stem for image, _ in CamVidOriginal(split, str(root)).pairs]
        assert stems == sorted(name for name, home in FRAMES.items() if home == split)


def test_all_32_colors_are_known_once():
    colors = [tuple(row[:3]) for row in COLOR_MAP]
    assert len(colors) == len(set(colors)) == 32
    assert {row[3] for row in COLOR_MAP} == {*CAMVID_CLASSES.names, "ignore"}
    for name, color in zip(CAMVID_CLASSES.names, CAMVID_CLASSES.palette, strict=True):
        if name != "pavement":  # SegNet gave it a color of its own
            assert (*color, name) in COLOR_MAP


def test_divided_layout(tmp_path):
    for split, name in (("train", "any_name"), ("val", "0001TP_006690")):
        write(tmp_path / split, tmp_path / f"{split}_labels", name, [(128, 64, 128)])
        assert [image.stem for image, _ in CamVidOriginal(split, str(tmp_path)).pairs] == [name]


def test_faults_are_named(root, tmp_path):
    write(root / "701_StillsRaw_full", root / "LabeledApproved_full", "0016E5_07961", [(1, 2, 3)])
    with pytest.raises(DataError, match=r"0016E5_07961_L\.png: color \(1, 2, 3\) \(1 pixels\)"):
        CamVidOriginal("val", str(root)).load(1)
    write(root / "701_StillsRaw_full", root / "LabeledApproved_full", "holiday", [(0, 0, 0)])
    with pytest.raises(DataError, match=r"holiday\.png: is not named like a frame of CamVid"):
        CamVidOriginal("val", str(root))
    with pytest.raises(DataError, match="701_StillsRaw_full: no such folder"):
        CamVidOriginal("val", str(root / "701_StillsRaw_full"))


@pytest.mark.skipif(not REAL.is_dir(), reason=f"CamVid is not in {REAL}")
@pytest.mark.parametrize("split", ["train", "val"])
def test_splits_match_the_tutorial_s_lists(split):
    names = [Path(line.split()[0]) for line in (REAL / f"{split}.txt").read_text().splitlines()]
    assert {split_of(name) for name in names} == {split}
