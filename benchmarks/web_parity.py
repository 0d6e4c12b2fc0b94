"""Masks of an exported page in a headless browser, against those of `segnet predict`.

    python benchmarks/web_parity.py best.ckpt images/ --runtime node_modules/onnxruntime-web

Needs playwright, a Chromium and the extra onnx. Each image is cut to an odd size. Prints the runtime of the page, how
many pixels have another class, how many of them lie beside a pixel of another class, and the seconds per image.
"""

import contextlib
import io
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.cli import end_process
from segnet.cli.arguments import Parser
from segnet.images.boundaries import near_other_class
from segnet.inference.predictor import Predictor
from segnet.workflows.export import export

Mask = NDArray[np.integer]
QUIET = ["--no-sandbox", "--no-first-run", "--disable-background-networking", "--force-color-profile=srgb"]
SOFTWARE_GPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
PATIENCE = 600_000  # [ms]
NO_LABEL = 65535  # predictions have no ignored pixels


def main() -> int:
    """Compare the images; return 0."""
    parser = Parser(prog="web_parity.py", description="Masks of an exported page against those of segnet predict.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path, help="folder of images")
    parser.add_argument("--runtime", help="folder of the npm package onnxruntime-web; default: node_modules")
    parser.add_argument("--images", type=int, default=20, help="number of images, evenly spread; default: 20")
    parser.add_argument("--webgpu", action="store_true", help="WebGPU on the CPU (SwiftShader), which is slow")
    options = parser.parse_args()
    files = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    chosen = [files[index] for index in np.linspace(0, len(files) - 1, min(options.images, len(files))).astype(int)]
    predictor = Predictor(options.checkpoint, "cpu", runtime="torch")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        export(options.checkpoint, "web", page, "logits", print, web_runtime=options.runtime)
        with opened(page, SOFTWARE_GPU if options.webgpu else ["--disable-gpu"]) as segment:
            print(compare(chosen, lambda image: predictor(image).mask, segment))
    return 0


def compare(files: list[Path], predict: Callable[[Image.Image], Mask], segment: Callable[[Image.Image], Mask]) -> str:
    """Segment each image both ways; return a line with the differences."""
    total = different = beside = 0
    seconds = 0.0
    for path in files:
        image = odd(Image.open(path).convert("RGB"))
        expected = predict(image)
        began = time.perf_counter()
        found = segment(image)
        seconds += time.perf_counter() - began
        wrong = found != expected
        total += wrong.size
        different += int(wrong.sum())
        beside += int((wrong & near_other_class(expected, NO_LABEL, 1)).sum())
    fraction = f"{1e6 * different / total:.1f} per million"
    return (
        f"{len(files)} images, {total} pixels: {different} have another class ({fraction}), {beside} of them beside "
        f"another class; {seconds / len(files):.2f} s per image with reading and download"
    )


def odd(image: Image.Image) -> Image.Image:
    """Cut an image to odd sides."""
    width, height = image.size
    return image.crop((0, 0, width - 1 + width % 2, height - 1 + height % 2))


@contextlib.contextmanager
def opened(page: Path, flags: list[str]) -> Iterator[Callable[[Image.Image], Mask]]:
    """Open a page; yield a function from an image to the mask that the page downloads."""
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as started:
        browser: Any = started.chromium.launch(executable_path=chromium, args=[*QUIET, *flags])
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        tab.goto(page.as_uri())
        tab.wait_for_selector("body:not(.busy)")
        print(tab.inner_text("#state"))

        def segment(image: Image.Image) -> Mask:
            file = io.BytesIO()
            image.save(file, "PNG")
            tab.set_input_files("#file", {"name": "image.png", "mimeType": "image/png", "buffer": file.getvalue()})
            tab.wait_for_selector("body:not(.busy)")
            with tab.expect_download() as download:
                tab.click("#mask")
            return np.asarray(Image.open(download.value.path()))

        yield segment
        browser.close()


if __name__ == "__main__":
    end_process(main)
