"""The inputs of ../shared/cases: files from public reports that were once read incorrectly.

One test per case: folder `coco-windows-file-names` belongs to `test_coco_windows_file_names`. A test makes the input,
reads it as the folder's README.md says, and checks what is right there. To add a case, write its test.
"""

import json
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import components
from warm_python import WARM_PYTHON

from segnet.classes import Classes
from segnet.cli.predict import main as predict
from segnet.cli.tables import print_report
from segnet.cli.train import main as train
from segnet.config import DataConfig, OptimConfig
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.data.scan.report import DatasetReport
from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.files import read_image
from segnet.images.header import read_header
from segnet.images.masks import ColoredMaskError, read_mask
from segnet.models.checkpoint import read_checkpoint, save_checkpoint
from segnet.training.task import SegmentationTask
from segnet.verb_config import InspectConfig
from segnet.workflows.inspect import inspect

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")


@pytest.fixture
def make(tmp_path):
    """Return a function that creates a case's input in a new folder: make("coco-windows-file-names") -> Path."""

    def run(case: str, *variant: str) -> Path:
        root = tmp_path / "-".join([case, *variant])
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        subprocess.run([*WARM_PYTHON, CASES / case / "make.py", root, *variant], check=True, timeout=600)
        return root

    return run


@pytest.fixture
def inspected(tmp_path):
    """Return a function that inspects a dataset like `segnet inspect`: inspected("folder", root, ...) -> report."""

    def run(name: str, root: Path, splits: tuple[str, ...] = ("train", "val"), **options) -> DatasetReport:
        spec = {"name": name, "root": str(root), **options}
        config = InspectConfig(dataset=spec, splits=list(splits), num_images=0, data=DataConfig(crop_size=[32, 32]))
        return inspect(config, tmp_path / "inspection")

    return run


@pytest.fixture
def limited():
    """Return a function that runs code with 6 GB of memory, at most ten minutes; it gives exit code and stderr."""

    def run(code: str) -> tuple[int, str]:
        limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (6 * 10**9, 6 * 10**9))\n"
        done = subprocess.run([*WARM_PYTHON, "-c", limit + code], capture_output=True, text=True, timeout=600)
        return done.returncode, done.stderr

    return run


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """Return a checkpoint of an untrained model with two classes."""
    classes = Classes.create(["bg", "a"])
    model = components()
    task = SegmentationTask.create(
        model={**model, "mean": [0.5] * 3, "std": [0.5] * 3},
        classes=classes,
        loss={"name": "cross_entropy"},
        optim=OptimConfig(),
    )
    path = tmp_path / "best.ckpt"
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def pixels(report: DatasetReport, split: str) -> dict[str, int]:
    """Return class -> number of pixels, for classes with pixels."""
    found = next(part for part in report.splits if part.split == split)
    return {name: found.pixels[label] for label, name in enumerate(found.classes.names) if found.pixels[label]}


def num_images(report: DatasetReport) -> list[int]:
    return [len(part.readable) for part in report.splits]


LOAD_COCO = """
import sys
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import SegnetError
try:
    dataset = COCOInstances("train", {root!r})
    print(*(int((dataset.load(index).mask == 1).sum()) for index in range(len(dataset))), file=sys.stderr)
except SegnetError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""

# One test per case, in the order of the folders.


@pytest.mark.parametrize("num_colors", [20, 2**24])
def test_attack_colour_mask_seconds(tmp_path, num_colors):
    """The test checks how it is recognized, because a time limit would depend on the machine."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, num_colors, (64, 128))
    colors = np.stack([blocks >> 16, blocks >> 8 & 255, blocks & 255], axis=2).astype(np.uint8)
    Image.fromarray(colors.repeat(16, 0).repeat(16, 1)).save(tmp_path / "mask.png")
    with pytest.raises(ColoredMaskError, match="a color image, not class ids") as caught:
        read_mask(tmp_path / "mask.png")
    assert caught.value.num_colors == len(np.unique(blocks))


@pytest.mark.parametrize("name", ["a.tif", "b.tif"])
@pytest.mark.parametrize("read", [read_image, read_mask, read_header, lambda path: read_bands(path, 4)])
def test_attack_tiff_without_pixels(name, read):
    path = CASES / "attack-tiff-without-pixels" / name
    with pytest.raises(DataError, match=f"^{path}: cannot be decoded: "):
        read(path)


@pytest.mark.parametrize("kind", ["nan", "inf", "1e9", "rle_size"])
def test_attack_coco_run_length_size(make, limited, kind):
    code, text = limited(LOAD_COCO.format(root=str(make("attack-coco-run-length-size", kind))))
    if kind == "1e9":
        assert (code, text) == (0, "1200\n")  # cut off at the image
    else:
        assert code == 3
        assert "instances_train2017.json: annotations[0] (id 1)" in text
        assert text.count("\n") == 1


@pytest.mark.parametrize("counts", [[10, 5], [], ""])
def test_attack_coco_short_runs(tmp_path, counts):
    (tmp_path / "train2017").mkdir()
    (tmp_path / "annotations").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "train2017" / "a.jpg")
    runs = {"size": [30, 40], "counts": counts}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": runs}
    record = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 30, "width": 40}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [annotation],
    }
    (tmp_path / "annotations" / "instances_train2017.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"annotations\[0\] \(id 1\): run lengths add up to (15|0) pixels"):
        COCOInstances("train", str(tmp_path)).load(0)


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
    tested = set(re.findall(r"^def test_(\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    folders = {folder.name for folder in CASES.iterdir() if folder.is_dir()}
    assert not {name for name in folders if name.replace("-", "_") not in tested}


def test_attack_checkpoint_traces(checkpoint):
    script = (CASES / "attack-checkpoint-traces" / "make.py").read_text(encoding="utf-8")
    script = script.replace("from segnet.checkpoint import", "from segnet.models.checkpoint import")
    done = subprocess.run([*WARM_PYTHON, "-c", script, checkpoint], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refused") == 10


@pytest.mark.parametrize("name", ["[/x]", "road [paved]"])
def test_attack_class_names_as_markup(make, inspected, name, capsys):
    print_report(inspected("folder", make("attack-class-names-as-markup"), class_names=[name, "b"]))
    assert name in capsys.readouterr().out


def test_attack_url_that_is_none(make, checkpoint, tmp_path, capsys):
    root = make("attack-url-that-is-none")
    options = ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--device", "cpu"]
    assert predict(["--list", str(root / "list.txt"), *options]) == 6
    assert "http://[: is not a valid URL" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 4


def test_attack_serve_float_tiff(tmp_path):
    exceptions = pytest.importorskip("starlette.exceptions")
    from segnet.serving.uploads import read_upload

    path = tmp_path / "big.tif"
    subprocess.run([sys.executable, CASES / "attack-serve-float-tiff" / "make.py", path], check=True, timeout=600)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(exceptions.HTTPException, match="12000 x 12000 pixels") as error:
        read_upload(path, 3, 4_000_000)
    assert error.value.status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # [KiB]


def test_attack_run_lock_race():
    script = (CASES / "attack-run-lock-race" / "make.py").read_text(encoding="utf-8")
    script = script.replace("from segnet.runs import", "from segnet.training.run_lock import")
    done = subprocess.run([*WARM_PYTHON, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same time: 0 times" in done.stdout


def test_trainer_overfit_batches(tmp_path):
    options = ["dataset.num_train=32", "dataset.num_val=4", "trainer.max_epochs=1", "trainer.overfit_batches=2"]
    small = ["backbone.base_channels=8", "data.batch_size=4", "data.num_workers=0", f"hydra.run.dir={tmp_path}"]
    assert train([*options, *small, "trainer.accelerator=cpu"]) == 0
    assert read_checkpoint(tmp_path / "last.ckpt")["global_step"] == 2
