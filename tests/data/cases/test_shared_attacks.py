"""The cases of ../shared/cases that attack: each is refused, or harmless; see test_shared_cases."""

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from shared_cases import CASES, LOAD_COCO
from warm_python import WARM_PYTHON

from segnet.cli.predict import main as predict
from segnet.cli.tables import print_report
from segnet.data.datasets.coco_instances import COCOInstances
from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.files import read_image
from segnet.images.header import read_header
from segnet.images.masks import ColoredMaskError, read_mask

pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")


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
    from segnet.images.model_images import ModelImages
    from segnet.serving.uploads import read_upload

    path = tmp_path / "big.tif"
    subprocess.run([sys.executable, CASES / "attack-serve-float-tiff" / "make.py", path], check=True, timeout=600)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(exceptions.HTTPException, match="12000 x 12000 pixels") as error:
        read_upload(path, ModelImages(3, None), 4_000_000)
    assert error.value.status_code == 413
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # [KiB]


def test_attack_run_lock_race():
    script = (CASES / "attack-run-lock-race" / "make.py").read_text(encoding="utf-8")
    script = script.replace("from segnet.runs import", "from segnet.training.run_lock import")
    done = subprocess.run([*WARM_PYTHON, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same time: 0 times" in done.stdout
