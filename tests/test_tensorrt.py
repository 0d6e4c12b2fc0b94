"""The proven ONNX file in TensorRT, with `python -m pytest -m gpu tests/test_tensorrt.py`; and the guide's command."""

import re
from pathlib import Path

import pytest
import torch

from segnet.exporters.onnx import INPUT
from segnet.models.checkpoint import load_checkpoint
from segnet.workflows.export_proof import BATCHED, batched_images

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guides" / "deployment.md"
SHAPES = [(1, 3, 32, 32), (2, 3, *BATCHED[1:]), (5, 3, 128, 192)]  # smallest, fastest, largest


def test_the_documented_shapes_are_those_of_the_input():
    text = GUIDE.read_text(encoding="utf-8")
    found = dict(re.findall(r"--(min|opt|max)Shapes=(\S+)", text))
    assert set(found) == {"min", "opt", "max"}
    shapes = {}
    for kind, value in found.items():
        name, _, shape = value.partition(":")
        assert name == INPUT
        shapes[kind] = [int(side) for side in shape.split("x")]
        assert shapes[kind][1] == 3
    assert all(low <= middle <= high for low, middle, high in zip(*(shapes[kind] for kind in found), strict=True))
    assert len(shapes["min"]) == 4


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_an_engine_of_the_exported_file_has_the_masks_of_the_model(exports):
    tensorrt = pytest.importorskip("tensorrt")
    run = engine_of(tensorrt, exports.get("onnx").read_bytes())
    model, _ = load_checkpoint(exports.checkpoint)
    for images in batched_images(3):
        with torch.inference_mode():
            expected = torch.cat([model(image[None]) for image in images])
        logits = run(images.cuda(), len(expected[0])).cpu()
        assert (logits.argmax(dim=1) == expected.argmax(dim=1)).double().mean() >= 0.999


def engine_of(tensorrt, onnx):
    """Build an engine in float32 for SHAPES; return a function from images to logits on the GPU."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse(onnx), [str(parser.get_error(index)) for index in range(parser.num_errors)]
    options = builder.create_builder_config()
    options.clear_flag(tensorrt.BuilderFlag.TF32)
    profile = builder.create_optimization_profile()
    profile.set_shape(INPUT, *SHAPES)
    options.add_optimization_profile(profile)
    engine = tensorrt.Runtime(logger).deserialize_cuda_engine(builder.build_serialized_network(network, options))
    context = engine.create_execution_context()

    def run(images, num_classes):
        logits = torch.empty(len(images), num_classes, *images.shape[2:], device="cuda")
        assert context.set_input_shape(INPUT, tuple(images.shape))
        for name, tensor in ((INPUT, images.contiguous()), ("logits", logits)):
            context.set_tensor_address(name, tensor.data_ptr())
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        assert context.execute_async_v3(stream.cuda_stream)
        stream.synchronize()
        return logits

    return run
