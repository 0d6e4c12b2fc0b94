"""report.html: what a training run came to, in one file that needs no other and no network."""

import base64
import csv
import io
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.data.dataset import SegmentationDataset
from segnet.images.bands import displayable
from segnet.images.drawing import IGNORED, colorise
from segnet.inference.predictor import Predictor
from segnet.system.files import replacing
from segnet.training.metrics import IOU
from segnet.workflows.charts import heat_map
from segnet.workflows.evaluate import Results

PICTURE_WIDTH = 400  # of a val image on the page [pixels]
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2530; background: #fff }
body { margin: auto; max-width: 1100px; padding: 24px }
h1 { font-size: 24px; margin: 0; overflow-wrap: anywhere }
h2 { font-size: 18px; margin: 36px 0 8px; border-bottom: 1px solid #d8dee6; padding-bottom: 4px }
dl { display: flex; flex-wrap: wrap; gap: 8px 32px; margin: 12px 0 }
dt, .note { color: #5c6975; font-size: 14px }
dd { margin: 0; font-size: 17px; overflow-wrap: anywhere }
table { border-collapse: collapse }
td, th { padding: 3px 12px; text-align: right; border-bottom: 1px solid #e8ecf1 }
td:first-child, th:first-child { text-align: left }
img { max-width: 100% }
figure { margin: 14px 0 22px }
figcaption { margin-bottom: 4px; overflow-wrap: anywhere }
pre { background: #f5f7f9; padding: 12px; overflow-x: auto }
svg text { font-size: 12px }
svg .frame { fill: none; stroke: #b8c2cc }
.bar { background: #dfe7f0; width: 160px; height: 10px }
.bar i { background: #08519c; display: block; height: 10px }
.swatch { display: inline-block; width: 13px; height: 13px; border: 1px solid #888; margin-right: 7px }
.scroll { overflow-x: auto }
.sheet { display: grid; gap: 6px; grid-template-columns: repeat(3, 1fr) }
.sheet img { width: 100% }
.legend span { margin-right: 16px; white-space: nowrap }
"""


def write_report(
    folder: Path, results: Results, samples: SegmentationDataset, facts: Mapping[str, object], worst: int
) -> None:
    """Writes report.html into a run folder: figures, curves, IoU by class, confusion matrix, worst images, options.

    Args:
        results: of the best checkpoint on `samples`.
        facts: further ones for the top, by name.
        worst: how many images of the lowest mIoU to show.
    """
    told = {
        "val mIoU": _percent(results.scores.miou),
        "pixel accuracy": _percent(results.scores.pixel_accuracy),
        "val images": results.num_images,
        **facts,
    }
    sections = {
        "Curves": _curves(folder / "curves.png"),
        "Classes": _class_table(results),
        "IoU of each class over the validations": _iou_over_time(folder / "metrics.csv", results.classes),
        "Confusion matrix": _confusion(results),
        f"The {min(worst, len(samples))} worst val images": _worst_images(results, samples, worst),
        "Configuration": _configuration(folder / "config.yaml"),
    }
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page(folder.absolute().name, told, sections), encoding="utf-8")


def page(title: str, facts: Mapping[str, object], sections: Mapping[str, str]) -> str:
    """A whole HTML page; sections without content are left out.

    Args:
        facts: for the top, by name.
        sections: HTML, by heading.
    """
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(fact))}</dd></div>" for name, fact in facts.items())
    body = "".join(f"<section><h2>{escape(name)}</h2>{html}</section>\n" for name, html in sections.items() if html)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        # Nothing from elsewhere, and nothing that runs.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>\n'
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n<dl>{listed}</dl>\n{body}</body></html>\n"
    )


def _curves(path: Path) -> str:
    return f'<img alt="curves over the steps" src="{_data_uri(path.read_bytes(), "png")}">' if path.exists() else ""


def _class_table(results: Results) -> str:
    scores, classes = results.scores, results.classes
    rows = []
    columns = (classes.names, classes.palette, scores.iou, scores.accuracy, scores.precision, scores.pixels)
    for name, color, iou, accuracy, precision, pixels in zip(*columns, strict=True):
        share = 0.0 if math.isnan(iou) else 100 * iou
        rows.append(
            f"<tr><td>{_named(name, color)}</td><td>{_percent(iou)}</td>"
            f'<td><div class="bar"><i style="width:{share:.1f}%"></i></div></td>'
            f"<td>{_percent(accuracy)}</td><td>{_percent(precision)}</td><td>{pixels:,}</td></tr>"
        )
    head = "<tr><th>class</th><th>IoU %</th><th></th><th>accuracy %</th><th>precision %</th><th>pixels</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _iou_over_time(metrics: Path, classes: Classes) -> str:
    """A row a class, a column a validation; nothing where none was logged."""
    if not metrics.exists():
        return ""
    with open(metrics, newline="", encoding="utf-8") as file:
        records = [row for row in csv.DictReader(file) if any(row.get(IOU + name) for name in classes.names)]
    if not records:
        return ""
    values = [[float(row.get(IOU + name) or math.nan) for row in records] for name in classes.names]
    # Lightning counts both from 0, and tells of steps that are done.
    places = [f"{int(row['epoch']) + 1} / {int(row['step']) + 1}" for row in records]
    chart = heat_map(values, classes.names, places, ("class", "epoch / step"))
    return f'<p class="note">IoU in %, of the validations while training.</p><div class="scroll">{chart}</div>'


def _confusion(results: Results) -> str:
    counts = np.array(results.confusion, np.float64)
    shares = counts / np.where(counts.sum(1) > 0, counts.sum(1), math.nan)[:, None]
    names = results.classes.names
    chart = heat_map(shares.tolist(), names, names, ("truth", "prediction"))
    note = "Of each class's true pixels, the share in % that was predicted as the column's class."
    return f'<p class="note">{note}</p><div class="scroll">{chart}</div>'


def _worst_images(results: Results, samples: SegmentationDataset, count: int) -> str:
    """Image, truth and prediction of those with the lowest mIoU; images without a labeled pixel have none."""
    scored = [(score, index) for index, score in enumerate(results.image_miou) if not math.isnan(score)]
    if not scored or count < 1:
        return ""
    predictor = Predictor(results.checkpoint)
    figures = []
    for score, index in sorted(scored)[:count]:
        sample = samples.load(index)
        pictures = (
            _picture(displayable(sample.image), "image", "jpeg"),
            _picture(colorise(sample.mask, results.classes), "truth"),
            _picture(colorise(predictor.segment(sample.image).mask, results.classes), "prediction"),
        )
        figures.append(
            f"<figure><figcaption>{escape(sample.name)}: mIoU {_percent(score)}</figcaption>"
            f'<div class="sheet">{"".join(pictures)}</div></figure>'
        )
    names = [*results.classes.names, "not labeled"]
    legend = " ".join(map(_named, names, [*results.classes.palette, IGNORED]))
    note = "Image, truth and prediction; mIoU over the classes that occur in the image or its prediction."
    return f'<p class="note">{note}</p><p class="legend">{legend}</p>{"".join(figures)}'


def _configuration(path: Path) -> str:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return f"<details><summary>config.yaml</summary><pre>{escape(text)}</pre></details>" if text else ""


def _picture(pixels: NDArray[np.uint8], alt: str, file_format: str = "png") -> str:
    """(H, W, 3) uint8 RGB as an HTML image; masks keep their exact colors."""
    height, width = pixels.shape[:2]
    picture = Image.fromarray(pixels)
    if width > PICTURE_WIDTH:
        size = (PICTURE_WIDTH, max(1, round(PICTURE_WIDTH * height / width)))
        picture = picture.resize(size, Image.Resampling.BOX if file_format == "jpeg" else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **({"quality": 88} if file_format == "jpeg" else {}))
    return f'<img alt="{alt}" title="{alt}" src="{_data_uri(buffer.getvalue(), file_format)}">'


def _named(name: str, color: Sequence[int]) -> str:
    shade = "#{:02x}{:02x}{:02x}".format(*color)
    return f'<span><i class="swatch" style="background:{shade}"></i>{escape(name)}</span>'


def _data_uri(content: bytes, file_format: str) -> str:
    return f"data:image/{file_format};base64,{base64.b64encode(content).decode()}"


def _percent(share: float) -> str:
    return "n/a" if math.isnan(share) else f"{100 * share:.2f}"
