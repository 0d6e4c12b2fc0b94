"""ONNX files, for onnxruntime in Python, C++, C#, Java and browsers, and for most other libraries."""

import logging
import warnings
from pathlib import Path

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
    for key, value in metadata.to_props().items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    proto.producer_name = "segnet"
    if proto.ByteSize() + ONNX_TRAILER_SIZE > MAX_PROTOBUF_BYTES:
        raise MachineError(f"{path}: the model is larger than 2 GiB, the limit of an ONNX file")
    with replacing(path) as temporary:
        temporary.write_bytes(with_onnx_digest(proto.SerializeToString()))
