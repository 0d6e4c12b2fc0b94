"""A page (.html) that segments images in a browser without a server: an ONNX file and onnxruntime-web in one file.

The binary files are embedded as compressed base64 in script elements, so that the page works as a local file. A browser
runs the model on an example first, and compares the classes with those of the checkpoint.
"""

import base64
import gzip
import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet import __version__
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.exporters.web.runtime import CDN_HOST, WEB_FILES, WEB_PACKAGE, WebRuntime
from segnet.models.metadata import Metadata
from segnet.system.files import replacing

OWN = Path(__file__).parent / "static"
SHARED = Path(__file__).parents[2] / "images" / "static"
PART = 3 * 2**20  # compressed bytes per script element: a multiple of 3, so that each part is base64 on its own
MAX_ONNX_BYTES = 2**28  # of the model: the largest one tried; a browser also holds its compressed form
LEAST_EXAMPLE = 0.999  # smallest fraction of the example's pixels with the checkpoint's class: a GPU rounds otherwise
IMPORT = re.compile(r'^import .* from "\./[\w.]+";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const))", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """An image with its classes, for the check in the browser.

    Attributes:
        image: (3, H, W) uint8 RGB.
        ids: (H, W) class ids of the checkpoint.
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Tiling:
    """The sliding windows for large images; see `segnet.inference.tta.Inference`."""

    max_pixels: int
    side: int
    overlap: float


def require_page(metadata: Metadata) -> None:
    """Check that a page can run a model.

    Raises:
        ConfigError: several classes per pixel, images that browsers do not read, or class ids instead of logits.
    """
    metadata.classes.require_one_class("--format web")
    if metadata.channels != 3:
        raise ConfigError(
            f"--format web: the model takes {metadata.channels} channels, and browsers read RGB images: use ONNX"
        )
    if metadata.value_range not in (None, (0.0, 255.0)):
        low, high = metadata.value_range or (0, 0)
        raise ConfigError(
            f"--format web: the model takes values of {low:g}-{high:g}, and browsers read 0-255: use ONNX"
        )
    if metadata.output != "logits":
        raise ConfigError("--format web: the page needs logits for large images: leave out --output-kind classes")


def export_page(
    onnx: Path, metadata: Metadata, runtime: WebRuntime, example: Example, tiling: Tiling, name: str, path: Path
) -> None:
    """Write the page of a proven ONNX file, and check that it contains this file.

    Args:
        onnx: the model, of `segnet.exporters.onnx`.
        name: title of the page.

    Raises:
        CheckpointError: the model is too large. MachineError: the page cannot be written.
    """
    content = onnx.read_bytes()
    if len(content) > MAX_ONNX_BYTES:
        raise CheckpointError(
            f"--format web: the model has {len(content) >> 20} MiB, and a page at most {MAX_ONNX_BYTES >> 20}: use a "
            "smaller backbone, or segnet serve"
        )
    ids = example.ids.astype("<u2").tobytes()
    files = {"model": content, "example": example.image.tobytes() + ids}
    if runtime.folder is not None:
        for provider in WEB_FILES:
            script, wasm = runtime.local(provider)
            files |= {f"{provider}.mjs": script.read_bytes(), f"{provider}.wasm": wasm.read_bytes()}
    before, after = _frame(metadata, runtime, example, tiling, name).split("{{parts}}")
    with replacing(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(before)
            for file_name, data in files.items():
                file.writelines(_parts(file_name, data))
            file.write(after)
        if embedded_files(temporary) != files:
            raise MachineError(f"{path}: the written page does not contain the model: is the disk failing?")


def embedded_files(page: Path) -> dict[str, bytes]:
    """Return the files that a page embeds, by name: "model" is the ONNX file."""
    text = page.read_text(encoding="utf-8")
    packed: dict[str, bytes] = {}
    for name, part in re.findall(r'<script type="text/plain" data-file="([\w.]+)">([\w+/=]*)</script>', text):
        packed[name] = packed.get(name, b"") + base64.b64decode(part)
    return {name: gzip.decompress(data) for name, data in packed.items()}


def _parts(name: str, data: bytes) -> Iterator[str]:
    packed = gzip.compress(data, compresslevel=6, mtime=0)
    for start in range(0, len(packed), PART):
        part = base64.b64encode(packed[start : start + PART]).decode()
        yield f'<script type="text/plain" data-file="{name}">{part}</script>\n'


def _frame(metadata: Metadata, runtime: WebRuntime, example: Example, tiling: Tiling, name: str) -> str:
    """The page with a mark in place of the embedded files."""
    is_embedded = runtime.folder is not None
    record = {
        "metadata": json.loads(metadata.to_json()),
        "runtime": f"{WEB_PACKAGE} {runtime.version}",
        "tiling": {"max_pixels": tiling.max_pixels, "side": tiling.side, "overlap": tiling.overlap},
        "example": {"height": example.ids.shape[0], "width": example.ids.shape[1], "least": LEAST_EXAMPLE},
        "engines": {provider: _engine(provider, runtime) for provider in WEB_FILES},
    }
    source = "." if is_embedded else f", and loads its runtime from {CDN_HOST}."
    values = {
        "policy": _policy("blob:" if is_embedded else CDN_HOST),
        "version": __version__,
        "title": html.escape(name),
        "css": "".join(css.read_text(encoding="utf-8") for css in (SHARED / "theme.css", OWN / "page.css")),
        "record": json.dumps(record).replace("<", r"\u003c"),
        "engine": bundled(OWN / "windows.js", OWN / "engine.js"),
        "page": bundled(OWN / "parts.js", SHARED / "png.js", OWN / "page.js"),
        "privacy": f"The image stays on this machine: the page sends nothing{source}",
        "footer": f"segnet {__version__}, with ONNX Runtime Web {runtime.version} (Microsoft, MIT License)",
    }
    template = (OWN / "page.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values.get(match[1], match[0]), template)


def _policy(connections: str) -> str:
    """The content security policy: a page cannot send an image anywhere."""
    scripts = "script-src 'unsafe-inline' blob: 'wasm-unsafe-eval'"
    return (
        f"default-src 'none'; {scripts}; style-src 'unsafe-inline'; img-src data: blob:; worker-src blob:; "
        f"connect-src {connections}"
    )


def _engine(provider: str, runtime: WebRuntime) -> dict[str, Any]:
    script, wasm = WEB_FILES[provider]
    return {
        "script": {"type": "text/javascript", **runtime.address(script)},
        "wasm": {"type": "application/wasm", **runtime.address(wasm)},
    }


def bundled(*modules: Path) -> str:
    """Join JavaScript modules to one script, each after those that it imports."""
    script = "".join(EXPORT.sub("", IMPORT.sub("", module.read_text(encoding="utf-8"))) for module in modules)
    assert "</script" not in script
    return script
