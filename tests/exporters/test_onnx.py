"""ONNX files: the pools of shortcuts at odd sizes, in every runtime of an ONNX file."""

import pytest
import torch
from exported import assert_export_equals_model
from tiny import components
from torch import nn
from torch.nn import functional as F

from segnet.classes import Classes
from segnet.exporters import metadata_of
from segnet.exporters.onnx import export_onnx
from segnet.models.segmentation_model import SegmentationModel

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

SIZES = [(1, 1, 1), (1, 2, 3), (2, 33, 47), (1, 64, 65)]  # batch, height, width


@pytest.fixture(scope="module")
def model() -> SegmentationModel:
    torch.manual_seed(0)
    return SegmentationModel(**components(), num_classes=3, mean=[0.5] * 3, std=[0.25] * 3).eval().requires_grad_(False)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_pools_of_odd_sizes_equal_the_model(model, tmp_path, format):
    assert_export_equals_model(model, "abc", format, tmp_path, SIZES)
    if format == "onnx":
        graph = onnx.load(tmp_path / "model.onnx").graph
        pools = [node for node in graph.node if node.op_type == "AveragePool"]
        assert [list(it.ints) for pool in pools for it in pool.attribute if it.name == "pads"] == [[0, 0, 1, 1]] * 2
        assert not [node for node in graph.node if node.op_type == "Pad"]
        used = {name for node in graph.node for name in node.input}
        assert {constant.name for constant in graph.initializer} <= used  # onnxruntime warns about others


class _OtherPads(nn.Module):
    """Pads that a pool cannot take over, beside one that it can, and one that has two users."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.float()
        zeros = F.avg_pool2d(F.pad(x, (0, 1, 0, 1)), 2)
        before = F.avg_pool2d(F.pad(x, (1, 0, 1, 0), mode="replicate"), 2)
        wide = F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 3, 2)
        shared = F.pad(x, (0, 1, 0, 1), mode="replicate")
        both = F.avg_pool2d(shared, 2), shared[:, :, :-1:2, :-1:2]
        return torch.stack([part.mean(dim=(2, 3)) for part in (zeros, before, wide, *both)])


def test_other_pads_stay(model, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    metadata = metadata_of(model, Classes.create(["a", "b", "c"]), "uint8", "logits", "0" * 64)
    network = _OtherPads()
    export_onnx(network, metadata, tmp_path / "a.onnx")
    nodes = onnx.load(tmp_path / "a.onnx").graph.node
    assert sum(node.op_type == "Pad" for node in nodes) == 3  # torch shares equal ones
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    images = torch.randint(0, 256, (2, 3, 33, 47), dtype=torch.uint8)
    found = session.run(None, {"images": images.numpy()})[0]
    assert torch.from_numpy(found).allclose(network(images), rtol=1e-5)
