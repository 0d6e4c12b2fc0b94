"""ONNX files, for onnxruntime in Python, C++, C#, Java and browsers, and for most other libraries."""

import logging
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segnet.errors import MachineError
from segnet.exporters.graph import program
from segnet.extras import import_extra
from segnet.models.digests import ONNX_TRAILER_SIZE, with_onnx_digest
from segnet.models.metadata import Metadata
from segnet.system.files import replacing

OPSET = 18  # the native version of torch's exporter, which needs no conversion
INPUT = "images"
MAX_PROTOBUF_BYTES = 2**31 - 1  # limit of the protobuf format


def export_onnx(model: nn.Module, metadata: Metadata, path: Path) -> None:
    """Write one ONNX file; batch size, height and width are dynamic.

    Raises:
        MachineError: onnx or onnxscript is missing, the file cannot be written, or the model is larger than 2 GiB.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx")
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision is missing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = torch.onnx.export(
                program(model, metadata),
                dynamo=True,
                input_names=[INPUT],
                output_names=[metadata.output],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        log.setLevel(level)
    assert exported is not None
    proto = exported.model_proto
    _pad_in_pools(proto.graph)
    for key, value in metadata.to_props().items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    proto.producer_name = "segnet"
    if proto.ByteSize() + ONNX_TRAILER_SIZE > MAX_PROTOBUF_BYTES:
        raise MachineError(f"{path}: the model is larger than 2 GiB, the limit of an ONNX file")
    with replacing(path) as temporary:
        temporary.write_bytes(with_onnx_digest(proto.SerializeToString()))


def _pad_in_pools(graph: Any) -> None:
    """Let the 2x2 pools of `exportable` leave out the padding of odd sizes; torch has no operator for it.

    The last mean of an odd size is then that of one pixel, as it is of a pixel and its copy. onnxruntime runs this pool
    in the layout of the convolutions around it, and a padding by copies only after a conversion to another layout.
    """
    helper, numpy_helper = (import_extra(f"onnx.{name}", "onnx") for name in ("helper", "numpy_helper"))
    constants = {constant.name: constant for constant in graph.initializer}
    pads = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    for pool in [node for node in graph.node if node.op_type == "AveragePool" and node.input[0] in pads]:
        pad = pads[pool.input[0]]
        options = {it.name: helper.get_attribute_value(it) for node in (pad, pool) for it in node.attribute}
        shape = options.get("kernel_shape"), options.get("strides"), any(options.get("pads", []))
        if options.get("mode") != b"edge" or shape != ([2, 2], [2, 2], False) or pad.input[1] not in constants:
            continue
        if numpy_helper.to_array(constants[pad.input[1]]).tolist() != [0, 0, 0, 0, 0, 0, 1, 1]:
            continue
        pool.input[0] = pad.input[0]
        for attribute in [it for it in pool.attribute if it.name in ("pads", "count_include_pad")]:
            pool.attribute.remove(attribute)
        pool.attribute.append(helper.make_attribute("pads", [0, 0, 1, 1]))
        pool.attribute.append(helper.make_attribute("count_include_pad", 0))
    _drop_unused(graph, pads.values())


def _drop_unused(graph: Any, nodes: Iterable[Any]) -> None:
    """Drop those of some nodes without a user, and constants without one: onnxruntime warns about them."""
    for node in nodes:
        if node.output[0] not in _used(graph):
            graph.node.remove(node)
    used = _used(graph)
    for constant in [it for it in graph.initializer if it.name not in used]:
        graph.initializer.remove(constant)


def _used(graph: Any) -> set[str]:
    return {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
