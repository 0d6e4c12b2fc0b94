"""Published models by name, served here by a server of this machine."""

import hashlib
import io
import json
import pickle
from dataclasses import replace
from pathlib import Path

import fill
import mmseg_reference as mmseg
import numpy as np
import pytest
import torch
from loopback import serving
from PIL import Image

import segnet
from segnet.class_sets import CITYSCAPES_CLASSES
from segnet.cli.evaluate import main as evaluate
from segnet.cli.export import main as export
from segnet.cli.grammar import to_overrides
from segnet.cli.info import main as info
from segnet.cli.predict import main as predict
from segnet.config import Config
from segnet.errors import CheckpointError, ConfigError, MachineError, SegnetError
from segnet.inference.predictor import Predictor
from segnet.models.checkpoint import load_checkpoint
from segnet.published.zoo import find_model, with_found_model
from segnet.verb_config import EvaluateConfig
from segnet.weights import zoo
from segnet.weights.pdparams import BOOKKEEPING

NAME = "cityscapes_resnet50_v1c"
PARITY = Path(__file__).parents[1] / "data" / "parity"


@pytest.fixture(scope="module")
def body():
    """A file as mmsegmentation publishes it: of its names, narrow, random."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = mmseg.EncoderDecoder(block=mmseg.Bottleneck, depths=[1, 1, 1, 1])
    file = io.BytesIO()
    torch.save({"meta": {}, "state_dict": model.state_dict()}, file)
    return file.getvalue()


@pytest.fixture
def server(body, monkeypatch, tmp_path):
    """Serves the model under a name that carries its hash; the caches are empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.chdir(tmp_path)
    path = f"/deeplabv3plus_r50-d8_512x1024_80k_cityscapes_20200606_114049-{hashlib.sha256(body).hexdigest()[:8]}.pth"
    with serving() as server:
        server.answers[path] = lambda handler: handler.give(body)
        publish(server, monkeypatch, NAME, path)
        yield server


def publish(server, monkeypatch, name, path):
    """Let the model of a name lie on the server."""
    entry = next(model for model in zoo.PUBLISHED_MODELS if model.name == name)
    monkeypatch.setattr(zoo, "PUBLISHED_MODELS", (*zoo.PUBLISHED_MODELS, replace(entry, url=server.url + path))[::-1])


def test_a_name_is_downloaded_converted_and_cached(server, caplog):
    caplog.set_level("INFO")
    path = find_model(NAME)
    model, classes = load_checkpoint(path)
    assert classes == CITYSCAPES_CLASSES
    assert model.backbone.strides[-1] == 8
    assert "license Apache-2.0" in caplog.text
    assert find_model(NAME) == path
    assert len(server.requests) == 1


def test_a_file_takes_precedence_over_a_model_name(server, tmp_path):
    (tmp_path / NAME).write_bytes(b"mine")
    assert find_model(NAME).read_bytes() == b"mine"
    assert find_model("~/best.ckpt") == Path.home() / "best.ckpt"
    assert find_model("best.ckpt") == Path("best.ckpt")  # the verb says that it is missing
    assert not server.requests


def test_a_damaged_file_is_refused_and_not_cached(server, body, tmp_path):
    for path in list(server.answers):
        server.answers[path] = lambda handler: handler.give(body[:-1] + b"!")
    with pytest.raises(CheckpointError, match="damaged download"):
        find_model(NAME)
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


def test_without_a_network_the_error_explains_the_manual_download(server, monkeypatch):
    monkeypatch.setattr(server, "url", "http://127.0.0.1:1")
    publish(server, monkeypatch, NAME, "/model-0123abcd.pth")
    with pytest.raises(
        MachineError, match=r"convert it: segnet convert FILE --classes cityscapes --output model\.ckpt$"
    ):
        find_model(NAME)


def test_settings_missing_in_paddle_files_come_from_the_table(server, monkeypatch):
    record = json.loads((PARITY / "deeplabv3p_resnet50_vd_os8.json").read_text())
    arrays = {name: fill.tensor(name, shape) for name, shape in record["param_shapes"].items()}
    for name in ("head.decoder.conv.weight", "head.decoder.conv.bias"):
        arrays[name] = np.repeat(arrays[name][:1], 19, axis=0)
    body = pickle.dumps({**arrays, BOOKKEEPING: {}}, protocol=2)
    server.answers["/model.pdparams"] = lambda handler: handler.give(body)
    publish(server, monkeypatch, "cityscapes_resnet101_vd_769", "/model.pdparams")
    stored = torch.load(find_model("cityscapes_resnet101_vd_769"), weights_only=True)["hyper_parameters"]["model"]
    assert stored["decoder"]["align_corners"] is True
    assert stored["backbone"]["multi_grid"] == [1, 2, 4]


@pytest.mark.parametrize("arguments", [["--checkpoint", NAME], [f"checkpoint={NAME}"], [NAME]], ids=" ".join)
def test_predict_accepts_the_name_in_every_form(server, capsys, arguments):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)).save("street.png")
    assert predict(["street.png", *arguments]) == 0
    with Image.open("predictions/street_mask.png") as mask:
        assert mask.size == (47, 33)
    assert f"segnet-{NAME}-" in capsys.readouterr().out


def test_other_verbs_accept_the_name(server, tmp_path, capsys):
    assert info([NAME]) == 0
    assert "classes:       19" in capsys.readouterr().out
    assert export([NAME, "--format", "safetensors"]) == 0
    assert (tmp_path / f"{NAME}_pretrained" / "model.safetensors").is_file()
    assert with_found_model(Config(init_from=NAME)).init_from == str(find_model(NAME))
    assert with_found_model(Config(teacher=NAME)).teacher == str(find_model(NAME))
    assert with_found_model(Config()).init_from is None
    with pytest.raises(ConfigError, match=f"init_from={NAME} fine-tunes it$"):
        with_found_model(Config(checkpoint=NAME))
    assert len(server.requests) == 1


def test_the_functions_of_the_public_api_accept_the_name(server, tmp_path):
    model, classes = segnet.load_checkpoint(NAME)
    assert classes == CITYSCAPES_CLASSES
    assert not model.training
    assert segnet.load_checkpoint(find_model(NAME))[1] == classes
    assert segnet.export(NAME, "safetensors").path == Path(f"{NAME}_pretrained")
    Path("b.json").touch()
    on_shapes = {"dataset": "shapes", "dataset__num_val": 1, "trainer__accelerator": "cpu"}
    other_classes = "was trained on 19: road"
    with pytest.raises(SegnetError, match=other_classes):
        segnet.evaluate(checkpoint=NAME, **on_shapes)
    with pytest.raises(SegnetError, match=other_classes):
        segnet.compare(first=NAME, second=Path("b.json"), **on_shapes)
    with pytest.raises(SegnetError, match=other_classes):
        segnet.doubt(checkpoint=NAME, dataset="shapes", dataset__num_val=1, device="cpu")
    assert len(server.requests) == 1
    with pytest.raises(CheckpointError, match=f"Did you mean '{NAME}'"):
        segnet.load_checkpoint(f"{NAME}s")


def test_a_predictor_accepts_the_name(server):
    assert Predictor(NAME, "cpu").classes == CITYSCAPES_CLASSES
    assert len(server.requests) == 1
    with pytest.raises(CheckpointError, match=f"Did you mean '{NAME}'"):
        Predictor(f"{NAME}s")


def test_hydra_verbs_accept_the_name_by_position():
    assert to_overrides("evaluate", EvaluateConfig, [NAME, "dataset=folder"]) == [
        f"checkpoint={NAME}",
        "dataset=folder",
    ]
    with pytest.raises(ConfigError, match=f"Did you mean '{NAME}'"):
        to_overrides("evaluate", EvaluateConfig, ["cityscapes_resnet50_v1"])
    with pytest.raises(ConfigError, match=f"init_from={NAME} fine-tunes that model"):
        to_overrides("train", Config, [NAME])


def test_evaluate_requires_a_dataset_before_the_download(server):
    with pytest.raises(ConfigError, match=f"dataset is not set, and {NAME} is not a local run: add dataset="):
        evaluate([f"checkpoint={NAME}", "hydra.run.dir=run"])
    assert not server.requests
