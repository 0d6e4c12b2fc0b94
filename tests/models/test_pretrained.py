"""safetensors and JSON: what is written is read again, with the same result."""

import pytest
import torch
from exports import CLASSES, SPEC, write_checkpoint

from segnet.errors import CheckpointError
from segnet.inference.runtimes import open_runtime
from segnet.models.checkpoint import load_checkpoint
from segnet.models.pretrained import is_pretrained, load_pretrained, save_pretrained


@pytest.fixture
def folder(tmp_path):
    model, classes = load_checkpoint(write_checkpoint(tmp_path / "a.ckpt"))
    save_pretrained(SPEC, model.state_dict(), classes, tmp_path / "model")
    return tmp_path / "model"


def images() -> torch.Tensor:
    return torch.randint(0, 256, (1, 3, 33, 47), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


@torch.inference_mode()
def test_it_gives_the_checkpoints_logits(folder):
    expected = load_checkpoint(folder.parent / "a.ckpt")[0](images())
    model, classes = load_pretrained(folder)
    assert classes == CLASSES
    assert torch.equal(model(images()), expected)
    for path in (folder, folder / "model.safetensors"):
        assert is_pretrained(path)
        torch.testing.assert_close(open_runtime(path, "cpu")(images()), expected, rtol=1e-4, atol=1e-4)


def test_the_card_names_the_classes(folder):
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: segnet\n")
    assert "| 1 | Straße | 0, 128, 0 |" in card


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_missing_and_damaged_files_are_told(folder, name):
    file = folder / name
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is no model of segnet, or damaged") as error:
        load_pretrained(folder)
    assert "\n" not in str(error.value)
    file.unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}"):
        load_pretrained(folder)
