"""huggingface_hub's mixin reads and writes the same files."""

import json
import shutil
import socket

import pytest
import torch
from exports import CLASSES, TEMPERATURE, write_checkpoint

from segnet.errors import CheckpointError, MachineError
from segnet.models.checkpoint import load_checkpoint
from segnet.models.pretrained import load_pretrained
from segnet.workflows.export import export

pytest.importorskip("huggingface_hub")


def test_predict_reads_files_pushed_to_the_hub(tmp_path, monkeypatch):
    import huggingface_hub

    from segnet.hub import HubModel

    path = write_checkpoint(tmp_path / "a.ckpt")
    sent = {}

    def create_repo(self, **options):
        sent["repository"] = options["repo_id"]
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{options['repo_id']}")

    def upload_folder(self, **options):
        sent["to"] = options["repo_id"]
        shutil.copytree(options["folder_path"], tmp_path / "sent")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    HubModel.from_checkpoint(path).push_to_hub("user/model")
    assert sent == {"repository": "user/model", "to": "user/model"}
    image = torch.zeros(1, 3, 17, 33, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(load_pretrained(tmp_path / "sent")[0](image), load_checkpoint(path)[0](image))
    assert "| 1 | Straße |" in (tmp_path / "sent" / "README.md").read_text(encoding="utf-8")


@torch.inference_mode()
def test_save_and_load_round_trip(tmp_path):
    from segnet.hub import HubModel

    path = write_checkpoint(tmp_path / "a.ckpt")
    images = torch.zeros(1, 3, 17, 33, dtype=torch.uint8)
    expected = load_checkpoint(path)[0](images)
    HubModel.from_checkpoint(path).save_pretrained(tmp_path / "saved")
    export(path, "safetensors", tmp_path / "exported", "logits", lambda _: None)
    for folder in ("saved", "exported"):
        model = HubModel.from_pretrained(tmp_path / folder).eval()
        assert model.classes == CLASSES
        assert model.temperature.values == (TEMPERATURE,)
        assert torch.equal(model(images), expected)
        assert torch.equal(load_pretrained(tmp_path / folder)[0](images), expected)
        assert "| 1 | Straße |" in (tmp_path / folder / "README.md").read_text(encoding="utf-8")


def missing(folder, name):
    (folder / name).unlink()


def damaged(folder, name):
    (folder / name).write_bytes(b"[1" if name == "config.json" else b"damaged")


def another_programs(folder, name):
    (folder / name).write_text(json.dumps({"architectures": ["ResNet"]}))


@pytest.mark.parametrize(
    ("change", "name", "message"),
    [
        (missing, "config.json", "has no config.json"),
        (missing, "model.safetensors", "has no model.safetensors"),
        (damaged, "config.json", "is not a model of segnet, or is damaged"),
        (damaged, "model.safetensors", "is not a model of segnet, or is damaged"),
        (another_programs, "config.json", "is not a model of segnet, or is damaged"),
    ],
)
def test_a_folder_without_a_model_names_the_missing_file(change, name, message, tmp_path):
    from segnet.hub import HubModel

    HubModel.from_checkpoint(write_checkpoint(tmp_path / "a.ckpt")).save_pretrained(tmp_path / "saved")
    change(tmp_path / "saved", name)
    with pytest.raises(CheckpointError) as error:
        HubModel.from_pretrained(tmp_path / "saved")
    assert str(error.value).startswith(f"{tmp_path / 'saved'}: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["./no/folder", "a/b/c", "a name", "folder"])
def test_an_invalid_name_is_reported(name, tmp_path, monkeypatch):
    from segnet.hub import HubModel

    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as error:
        HubModel.from_pretrained(name)
    assert str(error.value) == f"{name}: no such folder, and not the name of a model on the hub, such as user/model"


def test_an_uncached_name_offline_is_reported_without_network(tmp_path, monkeypatch):
    import huggingface_hub

    from segnet.hub import HubModel

    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *place, **_: asked.append(place))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # it reads the variable when imported
    with pytest.raises(MachineError) as error:
        HubModel.from_pretrained("user/model", cache_dir=tmp_path)
    assert str(error.value).startswith("user/model: no such file, and not in the hub's cache (HF_HUB_OFFLINE is set)")
    assert str(error.value).endswith("use that folder instead")
    assert not asked
