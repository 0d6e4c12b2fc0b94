"""OpenVINO IR: an .xml file with the graph and a .bin file of the same name with the weights."""

import tempfile
from pathlib import Path

from torch import nn

from segnet.exporters.onnx import export_onnx
from segnet.extras import import_extra
from segnet.models.digests import with_xml_digest
from segnet.models.metadata import Metadata
from segnet.system.files import replacing


def export_openvino(model: nn.Module, metadata: Metadata, path: Path, onnx_file: Path | None = None) -> None:
    """Write both files by conversion from ONNX; OpenVINO keeps its metadata.

    Args:
        onnx_file: where to keep the ONNX file; None: it is removed.

    Raises:
        MachineError: openvino or onnx is not installed, or a file cannot be written.
    """
    import_extra("openvino", "openvino")  # before the slow part
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        onnx_file = onnx_file or Path(folder) / "model.onnx"
        export_onnx(model, metadata, onnx_file)
        convert_onnx(onnx_file, path)


def convert_onnx(onnx_file: Path, path: Path) -> None:
    """Convert an ONNX file to IR; weights keep their precision.

    Raises:
        MachineError: openvino is not installed, or a file cannot be written.
    """
    openvino = import_extra("openvino", "openvino")
    converted = openvino.Core().read_model(onnx_file)
    # OpenVINO reads NAME.bin with NAME.xml: the weights replace the old ones first.
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        written = Path(folder) / "model.xml"
        openvino.save_model(converted, written, compress_to_fp16=False)
        weights = written.with_suffix(".bin").read_bytes()
        for suffix, content in ((".bin", weights), (".xml", with_xml_digest(written.read_bytes(), weights))):
            with replacing(path.with_suffix(suffix)) as temporary:
                temporary.write_bytes(content)
