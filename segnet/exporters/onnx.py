"""ONNX: for onnxruntime in Python, C++, C#, Java and browsers, and for most other libraries."""

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

OPSET = 18  # what torch's exporter writes by itself: no other is translated twice
INPUT = "images"
MAX_PROTOBUF_BYTES = 2**31 - 1  # of a protobuf file


def export_onnx(model: nn.Module, metadata: Metadata, path: Path) -> None:
    """Writes one ONNX file; batch, height and width are free.

    Raises:
        MachineError: onnx or onnxscript is not installed, the disk refuses it, or the model is larger than 2 GiB.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, "onnx")
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)  # it misses torchvision
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
        raise MachineError(f"{path}: the model is larger than 2 GiB, more than an ONNX file holds")
    with replacing(path) as temporary:
        temporary.write_bytes(with_onnx_digest(proto.SerializeToString()))
