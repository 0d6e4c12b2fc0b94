"""`segnet inspect` reports the problems of each file of a dataset, and shows usable samples."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segnet import cli
from segnet.config import DataConfig
from segnet.errors import ConfigError, DataError
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import inspect

NAMES = ["road", "tree", "sky"]
DATA = DataConfig(crop_size=[16, 24])


def write(root, split, name, mask=None, image=None, size=(20, 30)):
    """Write an image (default: noise) and a mask (default: all three classes)."""
    number = sum(map(ord, split + name))
    rng = np.random.default_rng(number)
    for kind, array in (
        ("images", rng.integers(0, 256, (*size, 3), np.uint8) if image is None else image),
        ("masks", rng.integers(0, 3, size, np.uint8) if mask is None else mask),
    ):
        path = root / kind / split / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Return the folder of a valid dataset of four images."""
    folder = tmp_path / "data"
    for split, names in (("train", "abc"), ("val", "d")):
        for name in names:
            write(folder, split, name)
    return folder


def config(root, **changes):
    return InspectConfig(
        dataset={"name": "folder", "root": str(root), "class_names": NAMES}, data=DATA, num_images=2, **changes
    )


def exit_code(argv):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return caught.value.code


def test_a_valid_dataset_gives_a_report_and_a_contact_sheet(root, tmp_path):
    report = inspect(config(root), tmp_path / "out")
    assert (report.errors, report.warnings) == ([], [])
    record = json.loads((tmp_path / "out" / "inspection.json").read_text())
    masks = [np.asarray(Image.open(path)) for path in sorted((root / "masks" / "train").iterdir())]
    assert [label["pixels"] for label in record["splits"]["train"]["labels"]] == [
        *[int(sum((mask == label).sum() for mask in masks)) for label in range(3)],
        0,
    ]
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        assert sheet.width > 4 * 256
        assert sheet.height > 2 * round(256 * 20 / 30)


def test_the_contact_sheet_shows_the_configured_augmentation(root, tmp_path):
    still = {"crop_size": [20, 30], "scale_range": [1.0, 1.0], "flip": 0.0, "color_jitter": 0.0}
    sheets = {}
    for name, options in (("plain", still), ("mixed", {**still, "cutmix": 1.0})):
        inspect(replace(config(root), data=DataConfig(**options)), tmp_path / name)
        with Image.open(tmp_path / name / "contact_sheet.png") as sheet:
            sheets[name] = np.asarray(sheet.convert("RGB"))
    width = sheets["plain"].shape[1]
    changed = (sheets["plain"] != sheets["mixed"]).any(axis=2)
    assert not changed[:, : width // 2].any()  # the images and masks before augmentation
    assert changed[:, width // 2 :].any()


def test_twelve_planted_defects_are_each_reported_with_their_file(root, tmp_path):
    plain = np.zeros((20, 30), np.uint8)
    write(root, "train", "wrong_label", plain + np.uint8(7))
    write(root, "train", "other_size", plain[:10])
    write(root, "train", "colored", np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    write(root, "train", "ignored", plain + np.uint8(255))
    write(root, "train", "constant", plain)
    for name in ("cut_image", "empty_mask", "text_image", "lonely_image", "lonely_mask"):
        write(root, "train", name)
    cut = root / "images" / "train" / "cut_image.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    (root / "masks" / "train" / "empty_mask.png").write_bytes(b"")
    (root / "images" / "train" / "text_image.png").write_text("not an image")
    (root / "masks" / "train" / "lonely_image.png").unlink()
    (root / "images" / "train" / "lonely_mask.png").unlink()
    for split, name in (("train", "twice"), ("val", "leaked")):
        with Image.open(root / "images" / "train" / "a.png") as image, Image.open(root / "masks/train/a.png") as mask:
            write(root, split, name, np.array(mask), np.array(image))
    report = inspect(config(root), tmp_path / "out")
    errors, warnings = report.errors, " | ".join(report.warnings)
    for part in (
        *["masks/train/wrong_label.png: label 7 (600 pixels)", "masks/train/other_size.png: 30 x 10"],
        *["masks/train/colored.png", "images/train/cut_image.png", "masks/train/empty_mask.png"],
        *["images/train/text_image.png", "images/train/lonely_image.png: image without mask"],
        "masks/train/lonely_mask.png: mask without image",
    ):
        assert sum(part in error for error in errors) == 1, part
    assert len(errors) == 8
    for name in ("train/ignored.png", "train/constant.png", "train/twice.png (train)", "val/leaked.png (val)"):
        assert name in warnings, name


@pytest.mark.parametrize(("value", "code"), [(1, 0), (9, 3)])
def test_inspect_exits_with_3_if_a_file_has_a_problem(root, tmp_path, capsys, value, code):
    write(root, "val", "last", np.full((20, 30), value, np.uint8))
    options = [f"dataset.root={root}", "dataset.class_names=[road,tree,sky]", "data.crop_size=[16,16]"]
    out = tmp_path / "out"
    assert exit_code(["inspect", "dataset=folder", *options, f"hydra.run.dir={out}"]) == code
    printed = capsys.readouterr()
    assert "tree" in printed.out
    assert ("last.png: label 9 (600 pixels)" in printed.err) == (code == 3)
    assert (out / "inspection.json").exists()
    assert (out / "contact_sheet.png").exists()


def test_a_dataset_without_any_pair_is_refused(tmp_path):
    for split in ("train", "val"):
        write(tmp_path, split, "a")
        (tmp_path / "masks" / split / "a.png").rename(tmp_path / "masks" / split / "b.png")
    with pytest.raises(DataError, match="none of its images has a mask of the same name"):
        inspect(config(tmp_path), tmp_path / "out")


@pytest.mark.parametrize(("option", "value"), [("splits", []), ("splits", ["valid"]), ("num_images", -1)])
def test_impossible_options_are_refused_with_their_values(root, tmp_path, option, value):
    changed = config(root)
    setattr(changed, option, value)
    with pytest.raises(ConfigError, match=option):
        inspect(changed, tmp_path)
