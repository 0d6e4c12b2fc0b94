"""Images with a small value range: every verb scales them by the value range of the training."""

import base64
import importlib.util
import zlib

import numpy as np
import pytest
from layouts import HEIGHT, WIDTH, write
from PIL import Image
from predicting import untrained
from served import Server
from tiny import CPU, WIDE, assert_same_classes, classes_of, configuration

from segnet.cli.evaluate import evaluated
from segnet.cli.predict import main as predict
from segnet.config import DataConfig
from segnet.data import build_dataset
from segnet.exporters.graph import metadata_of
from segnet.exporters.onnx import INPUT
from segnet.inference.predictor import Predictor
from segnet.models.checkpoint import load_checkpoint
from segnet.models.metadata import Metadata
from segnet.verb_config import DoubtConfig, EvaluateConfig, InspectConfig, ShardConfig
from segnet.workflows.doubt import doubt
from segnet.workflows.evaluate import evaluate
from segnet.workflows.export import export
from segnet.workflows.inspect import inspect
from segnet.workflows.quantize import Calibration
from segnet.workflows.shard import write_shards
from segnet.workflows.train import train

TOP = 234  # of 65535
NAMES = ("a.png", "b.png", "c.png", "d.png")
STORED = np.random.default_rng(0).integers(0, TOP + 1, (HEIGHT, WIDTH)).astype(np.uint16)
STORED[0, :2] = 0, TOP
STRETCHED = np.round(STORED * 255 / TOP).astype(np.uint8)[:, :, None].repeat(3, axis=2)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A dataset without the option, a checkpoint trained with it, and its results."""
    root = tmp_path_factory.mktemp("data")
    spec = write("supervisely", root, dict.fromkeys(NAMES, STORED))
    config = configuration(dataset={**spec, "value_range": [0, TOP]}, data=DataConfig(batch_size=4, crop_size=[32, 32]))
    config.backbone |= WIDE
    folder = tmp_path_factory.mktemp("run")
    return spec, folder / "best.ckpt", train(config, folder)


@pytest.fixture(scope="module")
def expected(trained) -> np.ndarray:
    """The mask of the image as scaled in training."""
    model, _ = load_checkpoint(trained[1])
    assert model.value_range == (0, TOP)
    mask = classes_of(model, STRETCHED)
    assert (mask != classes_of(model, np.zeros_like(STRETCHED))).any()  # otherwise the test could not fail
    return np.asarray(mask)


def scores_of(results) -> object:
    return results.scores.to_dict(results.classes)


def test_training_and_evaluation(trained):
    spec, checkpoint, results = trained
    again = evaluate(checkpoint, dataset=spec, split="val", data=DataConfig(num_workers=0), trainer=CPU)
    assert scores_of(again) == scores_of(results)


def test_inspection(trained, tmp_path):
    config = InspectConfig(dataset={**trained[0], "value_range": [0, TOP]}, num_images=0, data=DataConfig())
    report = inspect(config, tmp_path)
    assert report.splits[0].values.mean == pytest.approx([STRETCHED.mean() / 255] * 3, rel=1e-4)


def test_prediction(trained, expected, tmp_path):
    (tmp_path / "images").mkdir()
    Image.fromarray(STORED).save(tmp_path / "images" / "a.png")
    assert predict([str(tmp_path / "images"), "--checkpoint", str(trained[1]), "--out", str(tmp_path / "out")]) == 0
    assert_same_classes(np.asarray(Image.open(tmp_path / "out" / "a_mask.png")), expected)
    assert_same_classes(Predictor(trained[1], "cpu")(STORED).mask, expected)


OUTSIDE = "its values 60000 to 60009 become one color in the model's value_range [0, 234]: is it another kind of image?"


@pytest.fixture
def outside() -> np.ndarray:
    """Values outside of the value range of the training."""
    return (60000 + STORED % 10).astype(np.uint16)


def test_prediction_of_an_image_outside_of_the_range_warns(trained, outside, tmp_path, capsys):
    Image.fromarray(outside).save(tmp_path / "a.png")
    Image.fromarray(STORED).save(tmp_path / "b.png")
    images = [str(tmp_path / name) for name in ("a.png", "b.png")]
    assert predict([*images, "--checkpoint", str(trained[1]), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err == f"segnet: {images[0]}: {OUTSIDE}\n"


def test_prediction_of_an_image_with_pixels_without_data_warns(trained, tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    image = np.maximum(STORED, 1)
    image[: HEIGHT // 2] = 0
    tifffile.imwrite(tmp_path / "a.tif", image, extratags=[(42113, "s", 0, "0", True)])
    assert predict([str(tmp_path / "a.tif"), "--checkpoint", str(trained[1]), "--out", str(tmp_path / "out")]) == 0
    text = "50 % of its pixels have the file's nodata value, but are segmented: segnet predict --scene"
    assert f"segnet: {tmp_path / 'a.tif'}: {text}" in capsys.readouterr().err


def test_evaluation_of_images_outside_of_the_range_warns(trained, outside, tmp_path, caplog):
    spec = write("supervisely", tmp_path, dict.fromkeys(NAMES[:3], outside) | {NAMES[3]: STORED})
    evaluate(trained[1], dataset=spec, split="train", data=DataConfig(num_workers=0), trainer=CPU)
    (text,) = (record.getMessage() for record in caplog.records if "one color" in record.getMessage())
    assert f".png: {OUTSIDE}" in text


@pytest.mark.skipif(importlib.util.find_spec("starlette") is None, reason='needs pip install "segnet[serve]"')
def test_serving_an_image_outside_of_the_range_warns_in_the_log(trained, outside, tmp_path, caplog):
    Image.fromarray(outside).save(tmp_path / "a.png")
    assert Server(Predictor(trained[1], "cpu")).predict((tmp_path / "a.png").read_bytes()).status_code == 200
    assert f"upload: {OUTSIDE}" in caplog.messages


@pytest.mark.skipif(importlib.util.find_spec("starlette") is None, reason='needs pip install "segnet[serve]"')
def test_serving(trained, expected, tmp_path):
    Image.fromarray(STORED).save(tmp_path / "a.png")
    answer = Server(Predictor(trained[1], "cpu")).predict((tmp_path / "a.png").read_bytes(), "?image=true").json()
    ids = np.frombuffer(zlib.decompress(base64.b64decode(answer["ids"])), np.uint8)
    assert_same_classes(ids.reshape(HEIGHT, WIDTH), expected)


def test_shards(trained, tmp_path):
    pytest.importorskip("webdataset")
    spec, checkpoint, results = trained
    write_shards(ShardConfig(dataset={**spec, "value_range": [0, TOP]}, output=str(tmp_path / "shards")))
    shards = {"name": "streaming", "root": str(tmp_path / "shards")}
    again = evaluate(checkpoint, dataset=shards, split="val", data=DataConfig(num_workers=0), trainer=CPU)
    assert scores_of(again) == scores_of(results)


def test_exports_keep_the_value_range(trained):
    model, classes = load_checkpoint(trained[1])
    metadata = metadata_of(model, classes, "uint8", "logits", "")
    assert Metadata.read(metadata.to_json(), "a.onnx").value_range == (0, TOP)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_exports(trained, expected, tmp_path, format):
    for package in ("onnx", "onnxscript", "onnxruntime") if format == "onnx" else ():
        pytest.importorskip(package)
    Image.fromarray(STORED).save(tmp_path / "a.png")
    output = tmp_path / f"model.{format}"
    export(trained[1], format, output, "logits", lambda _: None)
    assert_same_classes(Predictor(output, "cpu")(tmp_path / "a.png").mask, expected)


@pytest.mark.slow
def test_calibration(trained, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    opened = []

    def calibrate(classes):
        opened.append(Calibration.open("supervisely", trained[0]["root"], classes, 2))
        return opened[0]

    export(trained[1], "onnx", tmp_path / "small.onnx", "logits", lambda _: None, calibrate)
    for batch in opened[0].batches("uint8"):
        np.testing.assert_array_equal(batch[INPUT][0].transpose(1, 2, 0), STRETCHED)
    np.testing.assert_array_equal(opened[0].val.load(0).image, STRETCHED)


def test_an_evaluation_and_a_search_for_label_errors_warn_once_of_dark_images(tmp_path, caplog):
    spec = write("supervisely", tmp_path, dict.fromkeys(NAMES, STORED))
    checkpoint = untrained(tmp_path / "a.ckpt", build_dataset(spec, "val").classes)
    options = {"dataset": spec, "split": "val"}
    evaluated(
        EvaluateConfig(checkpoint=str(checkpoint), trainer=CPU, data=DataConfig(num_workers=0), **options), tmp_path
    )
    doubt(DoubtConfig(checkpoint=str(checkpoint), device="cpu", **options), tmp_path)
    dark = [message for message in caplog.messages if "almost black" in message]
    assert len(dark) == 2
    assert all(f"its largest value is {TOP} of 65535" in message for message in dark)
