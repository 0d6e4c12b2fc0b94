"""Export a page: the ONNX file is proven in the page's own runtime if Node.js is there, and else in onnxruntime."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from segnet.choices import DEFAULT_WINDOW
from segnet.exporters import EXPORTERS, exportable
from segnet.exporters.web import Example, Tiling, export_page, require_page
from segnet.exporters.web.node import find_node, running_in_node
from segnet.exporters.web.runtime import WEB_PACKAGE, find_web_runtime
from segnet.inference.decisions import decision_of
from segnet.inference.runtimes import open_runtime
from segnet.inference.tta import MAX_PIXELS, Inference
from segnet.models.metadata import Metadata
from segnet.workflows.export_proof import example_images, require_equal


def write_proven_page(
    model: nn.Module,
    metadata: Metadata,
    web_runtime: str | None,
    name: str,
    path: Path,
    report: Callable[[object], None],
) -> None:
    """Export a model as a page, compare its ONNX file with the model, and write the page.

    Args:
        web_runtime: folder of onnxruntime-web, or "cdn"; see `find_web_runtime`.
        name: title of the page.
        report: called with the runtime of the proof, and with each comparison.

    Raises:
        CheckpointError: the results differ, or the model is too large.
        ConfigError: a model or a runtime that a page cannot use.
        MachineError: a package is missing, or the page cannot be written.
    """
    require_page(metadata)
    runtime = find_web_runtime(web_runtime)
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        onnx = Path(folder) / "model.onnx"
        EXPORTERS["onnx"](exportable(model, metadata), metadata, onnx)
        node = find_node() if runtime.folder is not None else None
        if node is not None:
            report(f"compared in {WEB_PACKAGE} {runtime.version} (WebAssembly, in Node.js)")
            with running_in_node(node, runtime, onnx, len(metadata.classes.names)) as run:
                require_equal(model, run, metadata, report)
        else:
            report(f"compared in onnxruntime; with Node.js and a folder of {WEB_PACKAGE}, it would be that one")
            require_equal(model, open_runtime(onnx, "cpu", "onnxruntime"), metadata, report)
        tiling = Tiling(MAX_PIXELS, DEFAULT_WINDOW, Inference().overlap)
        export_page(onnx, metadata, runtime, _example(model, metadata), tiling, name, path)


@torch.inference_mode()
def _example(model: nn.Module, metadata: Metadata) -> Example:
    images = next(example_images(metadata.channels))
    ids = decision_of(metadata.classes).masks(model(images))
    return Example(images[0].numpy(), ids[0].numpy())
