"""report.html of a training run: a self-contained page from the template report.html.jinja."""

import base64
import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from segnet.classes import Classes
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.dataset import SegmentationDataset
from segnet.errors import printable
from segnet.images.bands import displayable
from segnet.images.drawing import IGNORED, colorize, comparison
from segnet.images.files import write_image
from segnet.inference.predictor import Predictor
from segnet.system.files import replacing
from segnet.training.confidence_metrics import COVERAGES
from segnet.training.metrics import iou_metric, percent
from segnet.workflows.evaluate import Results

NUM_PREVIEWS = 6  # images in preview.png
IMAGE_WIDTH = 400  # width of a val image on the page [pixels]


def write_report(
    folder: Path,
    results: Results,
    samples: SegmentationDataset,
    facts: Mapping[str, object],
    worst: int,
    predictor: Predictor | None = None,
) -> None:
    """Write report.html into a run folder: scores, curves, IoU by class, confusion matrix, worst images, options.

    Args:
        folder: the run folder; its curves.png, metrics.csv and config.yaml are shown if they exist.
        results: results of the best checkpoint.
        samples: the evaluated split.
        facts: further entries at the top of the page, by name.
        worst: number of images with the lowest mIoU to show.
        predictor: of the best checkpoint; None: opened if images are shown.
    """
    scores, classes = results.scores, results.classes
    counts = np.array(results.confusion, np.float64).reshape([len(results.confusion)] * 2)
    curves, configuration = folder / "curves.png", folder / "config.yaml"
    top = {"val mIoU": percent(scores.miou), "pixel accuracy": percent(scores.pixel_accuracy)}
    top["mean Dice"] = percent(scores.mean_dice)
    if results.at_half is not None:
        top["task"] = classes.task
        top["val mIoU with threshold 0.5"] = percent(results.at_half.miou)
    if near := results.boundary:
        top["Boundary mIoU"], top["trimap mIoU"] = percent(near.boundary_miou), percent(near.trimap_miou)
    page = render(
        title=folder.absolute().name,
        facts={
            name.replace("_", " "): _readable(fact, name == "confident_pixels")
            for name, fact in {**top, "val images": results.num_images, **facts}.items()
        },
        curves=curves.read_bytes() if curves.exists() else b"",
        classes=classes,
        scores=scores,
        boundary=results.boundary,
        at_half=results.at_half,
        **_iou_over_time(folder / "metrics.csv", classes),
        confusion=(counts / np.where(counts.sum(1) > 0, counts.sum(1), math.nan)[:, None]).tolist(),
        worst=_worst_images(results, samples, worst, predictor),
        confidence=results.confidence,
        risks=list(zip(COVERAGES, results.confidence.risks, strict=True)) if results.confidence else [],
        temperature=results.temperature,
        fitted=results.fitted,
        not_labeled=IGNORED,
        configuration=configuration.read_text(encoding="utf-8") if configuration.exists() else "",
    )
    with replacing(folder / "report.html") as temporary:
        temporary.write_text(page, encoding="utf-8")


def write_preview(predictor: Predictor, samples: SegmentationDataset, target: Path) -> None:
    """Write a sheet of images, truths and predictions, evenly spread over the split."""
    count = min(NUM_PREVIEWS, len(samples))
    chosen = [samples.load(index * len(samples) // count) for index in range(count)]
    rows = [(displayable(sample.image), sample.mask, predictor.segment(sample.image).mask) for sample in chosen]
    write_image(target, comparison(rows, predictor.classes))


def unlabeled_facts(trainer: pl.Trainer, datamodule: SegmentationDataModule) -> dict[str, int | float]:
    """Return the number of unlabeled images and the last fraction of confident pixels; empty without such images."""
    if datamodule.unlabeled is None:
        return {}
    facts: dict[str, int | float] = {"unlabeled_images": len(datamodule.unlabeled.images)}
    confident = trainer.callback_metrics.get("train/confident_pixels")
    return facts if confident is None else {**facts, "confident_pixels": float(confident)}


def render(template: str = "report.html.jinja", **values: Any) -> str:
    """Fill a template of this folder: a missing value is an error, and all text is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"percent": percent, "data_uri": _data_uri}
    return environment.get_template(template).render(values)


def _printable(value: Any) -> Any:
    """Escape control characters in text, except for the line breaks of the configuration."""
    return printable(value, keep="\n\t") if type(value) is str else value


def _iou_over_time(metrics: Path, classes: Classes) -> dict[str, Any]:
    """Read the logged validations (epoch / step) and the IoU per class at each of them; empty without validations."""
    records: list[dict[str, str]] = []
    if metrics.exists():
        with open(metrics, newline="", encoding="utf-8") as file:
            records = [row for row in csv.DictReader(file) if any(row.get(iou_metric(name)) for name in classes.names)]
    return {
        "iou_by_class": [[float(row.get(iou_metric(name)) or math.nan) for row in records] for name in classes.names],
        # Lightning counts both from 0, and logs after the step.
        "validations": [f"{int(row['epoch']) + 1} / {int(row['step']) + 1}" for row in records],
    }


def _worst_images(
    results: Results, samples: SegmentationDataset, count: int, predictor: Predictor | None
) -> list[dict[str, Any]]:
    """Return image, truth and prediction of the images with the lowest mIoU; unlabeled images are left out."""
    scored = [(score, index) for index, score in enumerate(results.image_miou) if not math.isnan(score)]
    if not scored or count < 1:
        return []
    predictor = predictor or Predictor(results.checkpoint)
    worst = []
    for score, index in sorted(scored)[:count]:
        sample = samples.load(index)
        predicted = predictor.segment(sample.image).mask
        worst.append(
            {
                "name": sample.name,
                "miou": score,
                "image": encoded_image(displayable(sample.image), "jpeg"),
                "truth": encoded_image(colorize(sample.mask, results.classes), "png"),
                "prediction": encoded_image(colorize(predicted, results.classes), "png"),
            }
        )
    return worst


def encoded_image(pixels: NDArray[np.uint8], file_format: str) -> bytes:
    """Encode (H, W, 3) uint8 RGB, at most `IMAGE_WIDTH` wide; PNG keeps the exact colors of masks."""
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    if width > IMAGE_WIDTH:
        size = (IMAGE_WIDTH, max(1, round(IMAGE_WIDTH * height / width)))
        image = image.resize(size, Image.Resampling.BOX if file_format == "jpeg" else Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, file_format, **({"quality": 88} if file_format == "jpeg" else {}))
    return buffer.getvalue()


def _readable(fact: object, is_fraction: bool = False) -> str:
    """Format a fact as text; numbers get thousands separators, fractions become a percentage."""
    if is_fraction and isinstance(fact, float):
        return percent(fact)
    return f"{fact:,}" if isinstance(fact, int | float) else str(fact)


def _data_uri(content: bytes, file_format: str) -> str:
    return f"data:image/{file_format};base64,{base64.b64encode(content).decode()}"
