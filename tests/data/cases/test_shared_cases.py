"""The inputs of ../shared/cases: files from public reports that were once read incorrectly.

One test per case: folder `coco-windows-file-names` belongs to `test_coco_windows_file_names`. A test makes the input,
reads it as the folder's README.md says, and checks what is right there. To add a case, write its test.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from shared_cases import CASES, LOAD_COCO, num_images, pixels

from segnet.cli.predict import main as predict
from segnet.cli.train import main as train
from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.files import read_image
from segnet.models.checkpoint import read_checkpoint

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")


@pytest.mark.parametrize("kind", ["empty", "two", "point", "flat"])
def test_coco_degenerate_polygons(make, inspected, kind):
    report = inspected("coco_instances", make("coco-degenerate-polygons", kind))
    assert report.errors == []
    for split in ("train", "val"):
        found = pixels(report, split)
        assert found["dog"] == 600
        assert found.get("cat", 0) == (600 if kind in ("point", "flat") else 0)
    assert any("its segmentation has no area" in line for line in report.warnings) == (kind in ("empty", "two"))


def test_coco_image_id_as_text(make, inspected):
    report = inspected("coco_instances", make("coco-image-id-as-text"))
    assert [part.images[1] for part in report.splits] == [2, 2]


def test_coco_permuted_categories(make, inspected):
    root = make("coco-permuted-categories")
    report = inspected("coco_instances", root)
    assert pixels(report, "train") == pixels(report, "val") == {"background": 5544, "cat": 600}
    source = root / "annotations" / "instances_val2017.json"
    record = json.loads(source.read_text())
    record["categories"] = [entry for entry in record["categories"] if entry["name"] == "cat"]
    source.write_text(json.dumps(record))
    assert pixels(inspected("coco_instances", root), "val") == {"background": 5544, "cat": 600}


@pytest.mark.parametrize("kind", ["nan", "inf", "huge"])
def test_coco_polygon_not_finite(make, limited, kind):
    code, text = limited(LOAD_COCO.format(root=str(make("coco-polygon-not-finite", kind))))
    if kind == "huge":
        assert code == 0
        assert 900 < int(text.split()[0]) < 1100
    else:
        assert code == 3
        assert "instances_train2017.json: annotations[0] (id 1): a polygon has the coordinate" in text


def test_coco_twin_categories(make, inspected):
    report = inspected("coco_instances", make("coco-twin-categories"))
    assert pixels(report, "train") == pixels(report, "val") == {"background": 4944, "cell": 1200}


def test_coco_windows_file_names(make, inspected):
    report = inspected("coco_instances", make("coco-windows-file-names"))
    assert (report.errors, num_images(report)) == ([], [2, 2])


def test_cvat_test_subset(make, inspected):
    root = make("cvat-test-subset")
    report = inspected("cvat", root, ("train", "val", "test"))
    names = {part.split: sorted(Path(found.name).stem for found in part.findings) for part in report.splits}
    assert sorted(names["train"] + names["val"]) == list("0123")
    assert names["test"] == ["4", "5"]


def test_geotiff_float_mask_nan(make, inspected):
    report = inspected("geotiff", make("geotiff-float-mask-nan"), class_names=["bg", "a"], window=[64, 64])
    assert report.errors == []
    for part in report.splits:
        assert (part.pixels[1], part.pixels[255]) == (200, 640)


@pytest.mark.parametrize("nodata", ["nan", "-9999"])
def test_geotiff_nan_in_one_band(make, inspected, checkpoint, tmp_path, nodata):
    root = make("geotiff-nan-in-one-band")
    rasterio = pytest.importorskip("rasterio")
    if nodata != "nan":
        for path in (root / "images").iterdir():
            with rasterio.open(path) as scene:
                values, profile = scene.read(), scene.profile
            with rasterio.open(path, "w", **profile | {"nodata": float(nodata)}) as scene:
                scene.write(np.where(np.isnan(values), np.float32(nodata), values))
    report = inspected("geotiff", root, class_names=["bg", "a"], window=[64, 64])
    assert report.errors == []
    assert [part.pixels[255] for part in report.splits] == [640, 640]
    arguments = [str(root / "images" / "0.tif"), "--scene", "--checkpoint", str(checkpoint), "--output", str(tmp_path)]
    assert predict(arguments) == 0
    with rasterio.open(tmp_path / "0_mask.tif") as mask:
        assert (mask.read(1) == 255).sum() == 640


@pytest.mark.parametrize("kind", ["shifted", "rounded"])
def test_geotiff_shift_in_degrees(make, inspected, kind):
    root = make("geotiff-shift-in-degrees", kind)
    if kind == "rounded":
        report = inspected("geotiff", root, class_names=["bg", "a"], window=[64, 64])
        assert (report.errors, pixels(report, "train")["a"]) == ([], 200)
        return
    with pytest.raises(DataError, match=r"its grid is offset from its scene .*, by 2 pixels"):
        inspected("geotiff", root, class_names=["bg", "a"], window=[64, 64])


def test_label_studio_negatives(make, inspected):
    report = inspected("label_studio", make("label-studio-negatives"), class_names=["background", "car"])
    assert sum(num_images(report)) == 3
    assert [found.pixels for part in report.splits for found in part.findings if "none" in found.name] == [{0: 3072}]


def test_label_studio_same_names(make, inspected):
    report = inspected("label_studio", make("label-studio-same-names"), class_names=["background", "car"])
    names = sorted("/".join(found.name.split("/")[-2:]) for part in report.splits for found in part.findings)
    assert names == ["cam1/0001.jpg", "cam2/0001.jpg"]
    assert len({found.image_hash for part in report.splits for found in part.findings}) == 2


def test_label_studio_signed_urls(make, inspected):
    report = inspected("label_studio", make("label-studio-signed-urls"), class_names=["background", "car"])
    assert report.errors == []
    assert {Path(found.name).name for part in report.splits for found in part.findings} == {"a.jpg", "b.jpg"}


def test_labelme_rectangle_four_points(make, inspected):
    report = inspected("labelme", make("labelme-rectangle-four-points"), class_names=["background", "a"])
    assert [found.pixels[1] for part in report.splits for found in part.findings] == [651] * 3


def test_labelme_trash_folder(make, inspected):
    report = inspected("labelme", make("labelme-trash-folder"), class_names=["background", "a"])
    assert (report.errors, sum(num_images(report))) == ([], 4)
    assert any("1 file left out, hidden or in the trash: .Trash-1000/files/9.json" in line for line in report.warnings)


@pytest.mark.parametrize("val_list", ["val.txt", "powershell.txt"])
def test_list_made_on_windows(make, inspected, val_list):
    root = make("list-made-on-windows")
    report = inspected("folder", root, class_names=["bg", "a"], train_list="train.txt", val_list=val_list)
    assert (report.errors, num_images(report)) == ([], [2, 1])


def test_names_in_two_normal_forms(make, inspected):
    report = inspected("folder", make("names-in-two-normal-forms"), class_names=["bg", "a"])
    assert (report.errors, sum(num_images(report))) == ([], 4)


def test_predict_skips_endings(make, checkpoint, tmp_path, capsys):
    root = make("predict-skips-endings")
    assert predict([str(root), "--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]) in (0, 6)
    assert {path.name for path in (tmp_path / "out").glob("*_mask.png")} == {"a_mask.png", "b_mask.png", "c_mask.png"}
    assert ".heic" in capsys.readouterr().err  # left out, or with pillow-heif damaged


def test_scene_with_control_points(make, checkpoint, tmp_path):
    rasterio = pytest.importorskip("rasterio")
    root = make("scene-with-control-points")
    assert predict([str(root / "scene.tif"), "--scene", "--checkpoint", str(checkpoint), "--output", str(root)]) == 0
    with rasterio.open(root / "scene_mask.tif") as mask, rasterio.open(root / "scene.tif") as scene:
        (points, crs), (expected, expected_crs) = mask.gcps, scene.gcps
    assert [(p.row, p.col, p.x, p.y) for p in points] == [(p.row, p.col, p.x, p.y) for p in expected]
    assert crs == expected_crs


def test_tiff_min_is_white(make, inspected):
    report = inspected("folder", make("tiff-min-is-white"), class_names=["bg", "a"])
    assert report.errors == []
    assert [part.pixels[1] for part in report.splits] == [200 * len(part.readable) for part in report.splits]


def test_tiff_planes_of_16_bit(make):
    root = make("tiff-planes-of-16-bit")
    for read in (read_image, lambda path: read_bands(path, 3)):
        planes, together = read(root / "planes.tif"), read(root / "pixels.tif")
        np.testing.assert_array_equal(planes, together)
        assert (planes[:, :32, 0] == 156).all()
        assert (planes[:, 32:, 0] == 0).all()


def test_every_case_has_a_test():
    sources = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    tested = set(re.findall(r"^def test_(\w+)\(", sources, re.MULTILINE))
    folders = {folder.name for folder in CASES.iterdir() if folder.is_dir()}
    assert not {name for name in folders if name.replace("-", "_") not in tested}


def test_trainer_overfit_batches(tmp_path):
    options = ["dataset.num_train=32", "dataset.num_val=4", "trainer.max_epochs=1", "trainer.overfit_batches=2"]
    small = ["backbone.base_channels=8", "data.batch_size=4", "data.num_workers=0", f"hydra.run.dir={tmp_path}"]
    assert train([*options, *small, "trainer.accelerator=cpu"]) == 0
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 2
