"""OpenVINO compiles a model for the first shape, for repeated shapes, and one for all other shapes."""

import pytest
import torch

from segnet.inference.runtimes import openvino
from segnet.inference.runtimes.openvino import OpenVINORuntime
from segnet.inference.runtimes.pytorch import TorchRuntime

pytest.importorskip("openvino")


@pytest.fixture
def compiled(monkeypatch):
    """The shapes that a model was compiled for, in order."""
    shapes = []
    compile_ = OpenVINORuntime._compile

    def recorded(self, shape):
        shapes.append(shape)
        return compile_(self, shape)

    monkeypatch.setattr(OpenVINORuntime, "_compile", recorded)
    return shapes


def images(batch: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (batch, 3, height, width), generator=generator).to(torch.uint8)


def check(runtime, expected, *sizes: tuple[int, int, int]) -> None:
    for size in sizes:
        wanted = expected(images(*size))
        torch.testing.assert_close(runtime(images(*size)), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_repeated_shapes_get_their_own_model(exports, compiled):
    runtime, expected = OpenVINORuntime(exports.get("onnx")), TorchRuntime(exports.checkpoint, "cpu")
    one, other, anything = (1, 3, 48, 40), (2, 3, 33, 65), (-1, 3, -1, -1)
    check(runtime, expected, (1, 48, 40), (1, 48, 40))
    assert compiled == [one]
    check(runtime, expected, (2, 33, 65), (1, 1, 1), (2, 33, 65), (1, 3, 5), (1, 48, 40), (2, 33, 65), (2, 33, 65))
    assert compiled == [one, anything]
    check(runtime, expected, (2, 33, 65), (2, 33, 65), (1, 48, 40), (1, 17, 1))
    assert compiled == [one, anything, other]


def test_a_batch_of_many_pixels_gets_no_own_model(exports, compiled, monkeypatch):
    monkeypatch.setattr(openvino, "KEPT_PIXELS", 40 * 40)
    runtime, expected = OpenVINORuntime(exports.get("onnx")), TorchRuntime(exports.checkpoint, "cpu")
    check(runtime, expected, *[(1, 40, 41)] * 4)
    assert compiled == [(-1, 3, -1, -1)]


def test_few_models_are_kept(exports, compiled, monkeypatch):
    monkeypatch.setattr(openvino, "KEPT_SHAPES", 2)
    runtime, expected = OpenVINORuntime(exports.get("onnx")), TorchRuntime(exports.checkpoint, "cpu")
    check(runtime, expected, (1, 32, 32), *[(1, 32, 40)] * 3, *[(1, 40, 40)] * 3, (1, 32, 40), (1, 32, 32))
    assert compiled == [(1, 3, 32, 32), (-1, 3, -1, -1), (1, 3, 32, 40), (1, 3, 40, 40)]


def test_the_models_of_earlier_shapes_make_room(exports, compiled, monkeypatch):
    monkeypatch.setattr(openvino, "KEPT_PIXELS", 40 * 40)
    runtime, expected = OpenVINORuntime(exports.get("onnx")), TorchRuntime(exports.checkpoint, "cpu")
    check(runtime, expected, (1, 32, 32), *[(1, 40, 40)] * 3, (1, 32, 32))
    assert compiled == [(1, 3, 32, 32), (-1, 3, -1, -1), (1, 3, 40, 40)]
    check(runtime, expected, (1, 40, 40), (1, 32, 32), (1, 32, 32))
    assert compiled == [(1, 3, 32, 32), (-1, 3, -1, -1), (1, 3, 40, 40)]
    check(runtime, expected, (1, 32, 32))
    assert compiled[3:] == [(1, 3, 32, 32)]
