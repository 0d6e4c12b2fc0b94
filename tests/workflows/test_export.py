"""An export is kept only if its results equal the checkpoint's."""

import re

import pytest
import torch
from exports import write_checkpoint

from segnet.errors import CheckpointError, MachineError
from segnet.exporters import EXPORTERS
from segnet.workflows.export import export
from segnet.workflows.export_proof import SIZES


def test_the_comparisons_with_the_checkpoint_are_reported(tmp_path):
    lines = []
    export(write_checkpoint(tmp_path / "a.ckpt"), "pt2", tmp_path / "a.pt2", "logits", lines.append)
    batches = [(batch, 33, 47) for batch in (1, 2, 5)]
    assert [line.size for line in lines] == [*SIZES, *batches]
    assert all(line.agreement >= 0.9999 and line.error <= 1e-4 * line.largest for line in lines)
    assert re.search(r"argmax agreement (100\.000|99\.99\d)%", str(lines[0]))


@pytest.mark.parametrize("output_kind", ["logits", "classes"])
def test_an_export_that_differs_leaves_no_file(tmp_path, monkeypatch, output_kind):
    path = write_checkpoint(tmp_path / "a.ckpt")

    def export_another(model, metadata, target):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        return real(model, metadata, target)

    real = EXPORTERS["pt2"]
    monkeypatch.setitem(EXPORTERS, "pt2", export_another)
    with pytest.raises(CheckpointError, match=r"results differ from the checkpoint's .*nothing was written"):
        export(path, "pt2", tmp_path / "a.pt2", output_kind, lambda _: None)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_export_leaves_no_file(tmp_path, monkeypatch):
    path = write_checkpoint(tmp_path / "a.ckpt")

    def fail(model, metadata, target):
        target.write_bytes(b"half")
        raise MachineError("full")

    monkeypatch.setitem(EXPORTERS, "pt2", fail)
    with pytest.raises(MachineError, match="full"):
        export(path, "pt2", tmp_path / "a.pt2", "logits", lambda _: None)
    assert list(tmp_path.iterdir()) == [path]


def test_an_export_does_not_modify_the_checkpoint(tmp_path):
    path = write_checkpoint(tmp_path / "a.ckpt")
    before = path.read_bytes()
    export(path, "safetensors", tmp_path / "a", "logits", lambda _: None)
    assert path.read_bytes() == before
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["README.md", "config.json", "model.safetensors"]
