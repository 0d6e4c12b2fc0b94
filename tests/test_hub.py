"""huggingface_hub's mixin reads and writes the same files."""

import pytest
import torch
from exports import CLASSES, write_checkpoint

from segnet.checkpoint import load_checkpoint
from segnet.exporting import export
from segnet.pretrained import load_pretrained

pytest.importorskip("huggingface_hub")


@torch.inference_mode()
def test_there_and_back(tmp_path):
    from segnet.hub import HubModel

    path = write_checkpoint(tmp_path / "a.ckpt")
    images = torch.zeros(1, 3, 17, 33, dtype=torch.uint8)
    expected = load_checkpoint(path)[0](images)
    HubModel.from_checkpoint(path).save_pretrained(tmp_path / "saved")
    export(path, "safetensors", tmp_path / "exported", "logits", lambda _: None)
    for folder in ("saved", "exported"):
        model = HubModel.from_pretrained(tmp_path / folder).eval()
        assert model.classes == CLASSES
        assert torch.equal(model(images), expected)
        assert torch.equal(load_pretrained(tmp_path / folder)[0](images), expected)
        assert "| 1 | Straße |" in (tmp_path / folder / "README.md").read_text(encoding="utf-8")
