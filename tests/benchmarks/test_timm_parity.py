"""The comparison with timm: its parts, and with timm installed its smallest model."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

from segnet.models.backbones.resnet import ResNet

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "timm_parity.py"
spec = importlib.util.spec_from_file_location("timm_parity", SCRIPT)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


def test_timms_pool_keeps_the_size_and_includes_padding():
    image = torch.tensor([[1.0, 2, 3], [5, 7, 11]])[None, None]
    expected = torch.tensor([[15 / 4, 23 / 4, 14 / 4], [12 / 4, 18 / 4, 11 / 4]])[None, None]
    torch.testing.assert_close(benchmark.TimmPool()(image), expected)


@pytest.mark.parametrize(("output_stride", "dilated"), [(8, [2, 3]), (16, [3]), (32, [])])
def test_pools_are_inserted_into_dilated_shortcuts(output_stride, dilated):
    backbone = ResNet([1, 1, 1, 1], output_stride=output_stride, base_channels=4)
    benchmark.add_timm_pools(backbone)
    with_pool = [
        index
        for index, stage in enumerate(backbone.stages)
        if any(isinstance(layer, benchmark.TimmPool) for layer in stage.modules())
    ]
    assert with_pool == dilated


class Constant(nn.Module):
    """Four features of one value each."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = values

    def forward(self, images):
        return [torch.full((2, 1, 1, 1), value) for value in self.values]


def test_differences_are_relative_to_the_largest_value_and_show_nan():
    ours, theirs = Constant(1.0, 2.0, -3.0, float("nan")), Constant(1.0, 4.0, -2.0, 1.0)
    first, second, third, fourth = benchmark.differences(ours, theirs)
    assert (first, second, third) == (0.0, 0.5, 0.5)
    assert fourth != fourth


def test_resnet50_vd_matches_timms_resnet50d(capsys):
    timm = pytest.importorskip("timm", reason="timm is an optional package", exc_type=ImportError)
    weights = benchmark.random_weights(timm, 50)
    weights.state.pop("fc.weight")
    weights.state.pop("fc.bias")
    assert benchmark.compare(timm, 50, 32, weights)
    assert benchmark.compare(timm, 50, 8, weights)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert float(lines[1].split()[-1]) > 1e-2  # it can fail: what we build by default differs
