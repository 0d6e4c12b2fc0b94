"""Make every image of the docs: drawings, predictions on the embedded dataset `shapes`, and screenshots.

    pip install playwright                   # and a Chromium on the path
    python docs/tools/make_images.py WORK    # trains three models into WORK first: about 15 minutes on four cores

WORK keeps the runs: the next call makes the images again without training. Look at each image afterwards.
"""

import argparse
import contextlib
import io
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from segnet import Predictor
from segnet.config import DataConfig
from segnet.data.augment.presets import PRESETS
from segnet.data.datamodule import train_transform
from segnet.data.datasets.shapes import CLASSES, Shapes
from segnet.images.drawing import colorize

sys.path.insert(0, str(Path(__file__).parent))
import drawings

DOCS = Path(__file__).resolve().parents[1]
IMAGES = DOCS / "images"
CLASS_NAMES = f"dataset.class_names=[{','.join(CLASSES.names)}]"
GAP, LABEL = 8, 96  # between images, and for the names of the rows [pixels]
MAX_BYTES = 150_000


def main() -> None:
    parser = argparse.ArgumentParser(description="Make every image of the docs.")
    parser.add_argument("work", type=Path, help="folder of the trained runs")
    work = parser.parse_args().work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for stride in (16, 8):
        if not (work / f"os{stride}" / "report.html").exists():
            segnet(work, "train", f"output_stride={stride}", f"hydra.run.dir=os{stride}")
    if not (work / "several" / "report.html").exists():
        segnet(work, "train", "task=multilabel", "backbone_weights=null", "hydra.run.dir=several")
    for name in ("dilated_resnet", "aspp"):
        (IMAGES / f"{name}.svg").write_text(getattr(drawings, name)(), encoding="utf-8")
    save(results(work), "results.png")
    save(output_strides(work), "output_stride.png")
    save(contact_sheet(work), "inspect.png")
    save(presets(), "augmentation.png")
    with browser() as chromium:
        screenshot(chromium, (work / "os16" / "report.html").as_uri(), "report.png", (1000, 1150))
        serve_page(chromium, work / "os16", DOCS / "shapes.png", "serve.png")
        overlapping = Shapes("test", size=(128, 192), seed=5, task="multilabel").load(1)
        Image.fromarray(overlapping.image).save(work / "overlapping.png")
        serve_page(chromium, work / "several", work / "overlapping.png", "serve_several.png")
    for path in sorted(IMAGES.iterdir()):
        size = path.stat().st_size
        print(f"{path.name}: {size / 1000:.0f} KB{' TOO LARGE' if size > MAX_BYTES else ''}")


def segnet(work: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "segnet", *arguments], cwd=work, check=True)


def save(image: Image.Image, name: str, method: Image.Quantize | None = Image.Quantize.MEDIANCUT) -> None:
    """Save as a PNG of 256 colors, which is a fraction of the size.

    Args:
        method: median cut suits photos, octree keeps the few pixels of a color key; None: all colors.
    """
    image = image.convert("RGB")
    reduced = image if method is None else image.quantize(256, method, dither=Image.Dither.NONE)
    reduced.save(IMAGES / name, optimize=True)


# Predictions.


def results(work: Path) -> Image.Image:
    """Six validation images: image, truth and prediction, one below the other."""
    predictor = Predictor(work / "os16" / "best.ckpt", "cpu")
    samples = [Shapes("val").load(index) for index in (3, 17, 34, 51, 68, 85)]
    rows = {
        "image": [sample.image for sample in samples],
        "truth": [colorize(sample.mask, CLASSES) for sample in samples],
        "prediction": [colorize(predictor.segment(sample.image).mask, CLASSES) for sample in samples],
    }
    side = 128
    sheet = Image.new("RGB", (LABEL + 6 * (side + GAP), 3 * (side + GAP) + 30), "white")
    for row, (name, images) in enumerate(rows.items()):
        top = row * (side + GAP)
        write(sheet, (LABEL - 10, top + side // 2), name, "rm")
        for column, image in enumerate(images):
            way = Image.Resampling.NEAREST if name != "image" else Image.Resampling.BICUBIC
            sheet.paste(Image.fromarray(image).resize((side, side), way), (LABEL + column * (side + GAP), top))
    legend(sheet, (LABEL, sheet.height - 15))
    return sheet


def output_strides(work: Path) -> Image.Image:
    """One image, its truth, and the predictions of two models with the grid of their features."""
    sample = Shapes("test", size=(96, 96), seed=5).load(3)
    scale = 4
    panels: list[tuple[str, NDArray[np.uint8], int]] = [
        ("image", sample.image, 0),
        ("truth", colorize(sample.mask, CLASSES), 0),
    ]
    for stride in (16, 8):
        mask = Predictor(work / f"os{stride}" / "best.ckpt", "cpu").segment(sample.image).mask
        wrong = np.mean(mask != sample.mask)
        panels.append((f"output stride {stride}: {100 * wrong:.1f} % wrong", colorize(mask, CLASSES), stride))
    side = 96 * scale // 2
    sheet = Image.new("RGB", (4 * (side + GAP) - GAP, side + 60), "white")
    for column, (name, image, stride) in enumerate(panels):
        left = column * (side + GAP)
        way = Image.Resampling.BICUBIC if column == 0 else Image.Resampling.NEAREST
        panel = Image.fromarray(image).resize((side, side), way)
        if stride:
            pen = ImageDraw.Draw(panel)
            for at in range(0, side, stride * side // 96):
                pen.line([(at, 0), (at, side)], fill=(255, 255, 255))
                pen.line([(0, at), (side, at)], fill=(255, 255, 255))
        sheet.paste(panel, (left, 26))
        write(sheet, (left + side // 2, 12), name, "mm", 13)
    legend(sheet, (0, sheet.height - 15))
    return sheet


def contact_sheet(work: Path) -> Image.Image:
    """The sheet that `segnet inspect` writes for the example dataset."""
    data = work / "mydata"
    if not data.exists():
        subprocess.run([sys.executable, str(DOCS / "example_data.py"), str(data)], check=True)
    shutil.rmtree(work / "inspect", ignore_errors=True)
    options = ["dataset=folder", f"dataset.root={data}", CLASS_NAMES, "data.crop_size=[96,128]", "num_images=3"]
    segnet(work, "inspect", *options, "hydra.run.dir=inspect")
    sheet = Image.open(work / "inspect" / "contact_sheet.png").convert("RGB")
    width = min(sheet.width, 700)
    return sheet.resize((width, round(sheet.height * width / sheet.width)), Image.Resampling.LANCZOS)


def presets() -> Image.Image:
    """One image, and crops of it with each preset of data.augment; ignored pixels are white."""
    sample = Shapes("test", size=(128, 128), seed=5).load(3)
    side, columns = 112, 6
    sheet = Image.new("RGB", (LABEL + columns * (side + GAP) - GAP, len(PRESETS) * (side + GAP) - GAP), "white")
    for row, name in enumerate(PRESETS):
        top = row * (side + GAP)
        write(sheet, (LABEL - 10, top + side // 2), name, "rm")
        data = DataConfig(augment=name, crop_size=[side, side])
        transform = train_transform(data, [0.5] * 3, CLASSES.ignore_index, seed=1)
        for column in range(columns):
            image, mask = transform(sample.image, sample.mask, epoch=0, index=column)
            image = np.where(mask[..., None] == CLASSES.ignore_index, 255, image).astype(np.uint8)
            sheet.paste(Image.fromarray(image), (LABEL + column * (side + GAP), top))
    return sheet


def write(sheet: Image.Image, place: tuple[int, int], text: str, anchor: str, size: int = 15) -> None:
    ImageDraw.Draw(sheet).text(place, text, fill=(30, 30, 30), anchor=anchor, font=ImageFont.load_default(size))


def legend(sheet: Image.Image, place: tuple[int, int]) -> None:
    """The classes' colors and names in one line, around a vertical middle."""
    left, middle = place
    pen = ImageDraw.Draw(sheet)
    for name, color in zip(CLASSES.names, CLASSES.palette, strict=True):
        pen.rectangle([left, middle - 7, left + 14, middle + 7], fill=tuple(color))
        write(sheet, (left + 20, middle), name, "lm", 13)
        left += 34 + round(ImageFont.load_default(13).getlength(name))


# Screenshots.


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


def screenshot(chromium: Any, url: str, name: str, size: tuple[int, int]) -> None:
    page = chromium.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(url)
    save(Image.open(io.BytesIO(page.screenshot())), name, None)
    page.close()


def serve_page(chromium: Any, run: Path, image: Path, name: str) -> None:
    """The page of `segnet serve` with an image; a class named background is hidden."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "segnet", "serve", "--checkpoint", "best.ckpt", "--port", str(port)]
    server = subprocess.Popen([*command, "--device", "cpu"], cwd=run)
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=5):
                break
            time.sleep(0.5)
        page = chromium.new_page(viewport={"width": 1100, "height": 740})
        page.goto(url)
        page.wait_for_selector("#classes li")
        page.set_input_files("#file", str(image))
        page.wait_for_selector("body.shown")
        if (background := page.get_by_role("checkbox", name="background")).count():
            background.uncheck()
        page.wait_for_timeout(300)
        save(Image.open(io.BytesIO(page.screenshot())), name, Image.Quantize.FASTOCTREE)
        page.close()
    finally:
        server.terminate()
        server.wait(30)


if __name__ == "__main__":
    main()
