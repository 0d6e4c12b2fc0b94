"""Initial weights: ImageNet weights that fit the backbone, from a local stand-in of the hub."""

import subprocess
import sys
import types
from pathlib import Path

import foreign_resnets as foreign
import pytest
import torch
from loopback import answers_of_hub, serving
from safetensors.torch import save
from tiny import CPU, SHAPES, configuration

from segnet.components import complete
from segnet.config import Config, DataConfig
from segnet.errors import CheckpointError, MachineError
from segnet.models.backbones import BACKBONES
from segnet.models.backbones.timm import default_weights
from segnet.training.initial_weights import (
    imagenet_weights,
    log_origin,
    read_backbone_weights,
    resolve_backbone_weights,
)
from segnet.training.run_data import RunData
from segnet.training.specs import complete_specs
from segnet.training.trainer import training_trainer
from segnet.weights.load import load_backbone_weights
from segnet.workflows.train import prepare

ROOT = Path(__file__).resolve().parents[2]
RESNET18_VD = "timm/resnet18d.ra2_in1k"


@pytest.fixture(scope="module")
def weights():
    """Return random weights with timm's names of resnet18d."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return foreign.TorchResNet(True, foreign.DEPTHS[18], "timm", foreign.timm_downsample).state_dict()


@pytest.fixture
def hub(weights, monkeypatch, tmp_path):
    """Serve a hub with the weights of ResNet18_vd; caches are empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    config = b'{"pretrained_cfg": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}'
    with serving() as server:
        server.answers.update(answers_of_hub(RESNET18_VD, {"model.safetensors": save(weights), "config.json": config}))
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def resnet18_vd(**changes):
    """Return a configuration of the default backbone, with a small decoder and small data."""
    small = configuration()
    defaults = {"decoder": small.decoder, "data": DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0)}
    return resolve_backbone_weights(complete_specs(Config(dataset=SHAPES, trainer=CPU, **{**defaults, **changes})))


def prepared(config, checkpoint=None):
    return prepare(config, RunData(config.dataset), checkpoint, training_trainer(config, Path("run"), [], []))


def test_a_run_starts_from_the_best_published_weights_of_its_backbone(hub, weights, caplog):
    caplog.set_level("INFO")
    config, _, task = prepared(resnet18_vd())
    assert config.backbone_weights == RESNET18_VD
    assert config.mean == [0.485, 0.456, 0.406]
    conv = task.model.backbone.stages[3][1].conv2.conv.weight
    torch.testing.assert_close(conv, weights["layer4.1.conv2.weight"])
    assert f"{RESNET18_VD}: license Apache-2.0" in caplog.text


def test_other_image_channels_get_an_adapted_stem(hub, weights):
    backbone = {**Config().backbone, "in_channels": 4}
    config = resnet18_vd(backbone=backbone)
    assert config.backbone_weights == RESNET18_VD
    weight = read_backbone_weights(config.backbone_weights)
    built = BACKBONES["resnet"](**{key: value for key, value in config.backbone.items() if key != "name"})
    load_backbone_weights(built, weight)
    expected = weights["conv1.0.weight"]
    torch.testing.assert_close(built.stem[0].conv.weight, expected[:, [0, 1, 2, 0]] * 3 / 4)


def test_without_a_network_the_error_gives_both_alternatives(hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(MachineError) as error:
        prepared(resnet18_vd())
    message = str(error.value)
    assert message.startswith(f"{RESNET18_VD}: ")
    assert "model.safetensors manually and use that file, or set" in message
    assert "config.json" not in message
    assert message.endswith("or set backbone_weights=null to train from scratch")
    assert "\n" not in message


def test_withdrawn_weights_are_an_error_with_alternatives(hub):
    hub.answers.clear()
    with pytest.raises(
        CheckpointError, match=r"choose other weights, or set backbone_weights=null to train from scratch"
    ):
        prepared(resnet18_vd())


def test_resumed_and_fine_tuned_runs_download_nothing(hub, run):
    folder, _ = run
    prepared(configuration(backbone_weights="timm/resnet18d.gone"), folder / "last.ckpt")
    prepared(configuration(backbone_weights="timm/resnet18d.gone", init_from=str(folder / "best.ckpt")))
    assert not hub.requests


def test_null_and_file_paths_are_kept(run):
    for value in (None, str(run[0] / "best.ckpt"), "timm/resnet18.tv_in1k"):
        assert resolve_backbone_weights(configuration(backbone_weights=value)).backbone_weights == value


def test_a_misspelled_imagenet_gets_a_suggestion():
    with pytest.raises(CheckpointError, match=r"^imagnet: no such file. Did you mean 'imagenet'\?$"):
        read_backbone_weights("imagnet")


@pytest.mark.parametrize(
    ("changes", "checkpoint", "line"),
    [
        ({}, "runs/a/last.ckpt", "starts from: runs/a/last.ckpt (resumed)"),
        ({"init_from": "best.ckpt"}, None, "starts from: best.ckpt (init_from)"),
        ({"backbone_weights": None}, None, "starts from: random weights (backbone_weights=null)"),
        ({"backbone_weights": "w.pth"}, None, "starts from: w.pth, in the backbone"),
        ({}, None, f"starts from: ImageNet weights {RESNET18_VD} of timm, top-1 73.8 %, in the backbone"),
    ],
)
def test_a_run_logs_its_initial_weights(changes, checkpoint, line, caplog):
    caplog.set_level("INFO")
    log_origin(resolve_backbone_weights(complete_specs(Config(**changes))), checkpoint and Path(checkpoint))
    assert caplog.messages == [line]


def test_a_backbone_without_published_weights_logs_that_it_starts_from_random_ones(caplog):
    resolved = resolve_backbone_weights(complete_specs(Config(norm={"name": "group"})))
    assert resolved.backbone_weights is None
    assert "no published ImageNet weights fit this backbone: random weights are used" in caplog.text


def test_timm_models_use_timm_s_default_weights(monkeypatch):
    timm = types.ModuleType("timm")
    timm.is_model = lambda name: name in ("regnety_008", "untrained")
    published = {"regnety_008": types.SimpleNamespace(hf_hub_id="timm/regnety_008.pycls_in1k")}
    timm.get_pretrained_cfg = published.get
    monkeypatch.setitem(sys.modules, "timm", timm)
    assert imagenet_weights({"name": "timm", "model": "regnety_008"}) == "timm/regnety_008.pycls_in1k"
    assert default_weights("untrained") is None


def test_complete_specs_are_recognized():
    spec = complete(BACKBONES, {**Config().backbone}, output_stride=8, norm={"name": "sync_batch"})
    assert imagenet_weights(spec) == RESNET18_VD


def test_a_failed_download_is_one_line_and_exit_code_5(tmp_path):
    words = ["dataset.num_train=8", "dataset.num_val=2", "backbone_weights=imagenet", "hydra.run.dir=run"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *words, "trainer.accelerator=cpu"],
        cwd=tmp_path,
        env={
            "PATH": "",
            "PYTHONPATH": str(ROOT),
            "TORCH_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "1",
            "HOME": str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 5, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("segnet: error: timm/resnet18d.ra2_in1k: ")
    assert len(lines) == 1
    assert not (tmp_path / "run").exists()
