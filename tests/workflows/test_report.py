"""report.html: a self-contained page that agrees with the run's other files."""

import base64
import csv
import io
import math
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import SHAPES, classes_of

from segnet.classes import Classes, voc_palette
from segnet.data.datasets.shapes import Shapes
from segnet.images.drawing import IGNORED, colorize
from segnet.inference.predictor import Predictor
from segnet.models.checkpoint import load_checkpoint
from segnet.training.boundary_metrics import BoundaryScores
from segnet.training.confidence_metrics import ConfidenceScores
from segnet.training.metrics import Scores
from segnet.workflows.report import render, write_report

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Collects headings and images, and fails on elements that are not closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.images, self.addresses = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href", "srcset", "data")]
        if tag == "img":
            self.images.append(dict(attributes))

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


@pytest.fixture(scope="module")
def report(run):
    return (run[0] / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def val():
    return Shapes("val", **{key: SHAPES[key] for key in ("num_val", "size")})


def pixels(image):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))).convert("RGB"))


def test_the_report_has_all_sections_and_is_self_contained(report):
    reader = Reader(report)
    assert reader.headings == [
        *["Curves", "Classes", "IoU of each class over the validations", "Confusion matrix", "Confidence"],
        *["The 5 worst val images", "Configuration"],
    ]
    assert all(address.startswith("data:image/") for address in reader.addresses)
    assert not re.search(r"url\(|@import|<script|<link", report)


def test_worst_images_are_sorted_by_miou(run, report, val):
    folder, results = run
    predictor = Predictor(folder / "best.ckpt", "cpu")
    model, _ = load_checkpoint(folder / "best.ckpt")  # prediction folds its norms, which may change a few pixels
    expected = []
    for index in range(len(val)):
        sample = val.load(index)
        predicted = classes_of(model, sample.image)
        ious = []
        for label in range(len(val.classes.names)):
            counted = sample.mask != 255
            union = ((sample.mask == label) | (predicted == label)) & counted
            if union.any():
                ious.append(((sample.mask == label) & (predicted == label)).sum() / union.sum())
        expected.append(np.mean(ious))
    np.testing.assert_allclose(results.image_miou, expected, rtol=1e-12)
    order = np.argsort(expected)
    shown = re.findall(r"<figcaption>(.*?): mIoU ([\d.]+) %</figcaption>", report)
    assert [float(score) for _, score in shown] == [round(100 * expected[index], 1) for index in order]
    images = [image for image in Reader(report).images if image["alt"] in ("image", "truth", "prediction")]
    for place, index in enumerate(order):
        image, truth, prediction = images[3 * place : 3 * place + 3]
        sample = val.load(index)
        assert (
            np.abs(pixels(image).astype(int) - sample.image).mean() < 10
        )  # a JPEG of a noisy image; other images differ by 40
        np.testing.assert_array_equal(pixels(truth), colorize(sample.mask, val.classes))
        np.testing.assert_array_equal(pixels(prediction), colorize(predictor(sample.image).mask, val.classes))


def test_the_iou_per_class_and_validation_matches_the_log(run, report):
    with open(run[0] / "metrics.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["val/miou"]]
    assert len(rows) == 2
    for epoch, row in enumerate(rows, start=1):
        logged = [float(row[f"val/iou/{name}"]) for name in run[1].classes.names]
        assert np.isclose(np.nanmean(logged), float(row["val/miou"]), rtol=1e-6)
        for name, iou in zip(run[1].classes.names, logged, strict=True):
            cell = f'title="{name}, {epoch} / {4 * epoch}: {100 * iou:.1f} %"'
            assert (cell in report) == (not np.isnan(iou))


def test_the_confusion_matrix_shows_fractions_of_the_truth(run, report):
    results = run[1]
    counts = np.array(results.confusion)
    names = results.classes.names
    assert counts.sum(1).tolist() == results.scores.pixels
    for row in np.flatnonzero(counts.sum(1)):
        for column, share in enumerate(counts[row] / counts[row].sum()):
            assert f'title="{names[row]}, {names[column]}: {100 * share:.1f} %"' in report


def test_a_run_without_validations_or_worst_images_has_a_report(run, val, tmp_path):
    results = replace(run[1], image_miou=[float("nan")] * 5)
    write_report(tmp_path, results, val, {"steps": 3}, worst=8)
    headings = Reader((tmp_path / "report.html").read_text(encoding="utf-8")).headings
    assert headings == ["Classes", "Confusion matrix", "Confidence"]


def test_the_report_shows_boundary_scores_if_they_were_computed(run, val, tmp_path):
    names = run[1].classes.names
    near = BoundaryScores(0.02, [0.123] * len(names), [0.456] * len(names))
    write_report(tmp_path, replace(run[1], boundary=near), val, {}, worst=0)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<td>12.3</td><td>45.6</td>") == len(names)
    assert "<th>Boundary IoU %</th><th>trimap IoU %</th>" in page
    assert "<dt>Boundary mIoU</dt><dd>12.3 %</dd>" in page
    assert "up to 0.02 of the image diagonal" in page
    assert "Boundary" not in (run[0] / "report.html").read_text(encoding="utf-8")


def test_the_reliability_diagrams_show_the_accuracy_of_each_bin(run, val, tmp_path):
    confidence = ConfidenceScores(
        pixels=[0] * 13 + [100, 300],
        confidence=[math.nan] * 13 + [0.9, 0.99],
        accuracy=[math.nan] * 13 + [0.5, 0.75],
        ece=0.28,
        mean_confidence=0.9675,
        risks=[0.1, 0.2, 0.25, 0.3, 0.3125],
        aurc=0.2,
    )
    write_report(tmp_path, replace(run[1], confidence=confidence, fitted=None), val, {}, worst=0)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    bars = re.findall(r'<rect class="accuracy" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', page)
    assert bars == [("173.33", "100.00", "100.00"), ("186.67", "50.00", "150.00")]
    assert "<title>accuracy 75.0 %, confidence 99.0 %, 75.0 % of the pixels</title>" in page
    assert "calibration error 28.0 %, mean confidence 96.8 %" in page
    assert "<tr><td>80 %</td><td>20.0 %</td></tr>" in page
    assert "after calibration" not in page
    both = (run[0] / "report.html").read_text(encoding="utf-8")
    assert f"now {run[1].fitted.temperature}, fitted to" in both
    assert both.count('<svg class="reliability"') == 2


NAMES = ["<script>", "a & b", "$x^2", "道路", '"quoted"']


def filled(names, confusion, **values):
    """Render a page with classes of the given names."""
    num_classes = len(names)
    scores = Scores.from_matrix(torch.eye(num_classes, dtype=torch.int64))
    empty = {"curves": b"", "boundary": None, "validations": [], "iou_by_class": [], "worst": [], "configuration": ""}
    empty |= {"confidence": None, "at_half": None}
    more = {"facts": {}, "classes": Classes.create(names, voc_palette(num_classes)), "scores": scores}
    return render(**{"title": "run", "not_labeled": IGNORED, **empty, **more, "confusion": confusion, **values})


def cells(page):
    """Return {title: background} of the cells of the page's heat maps."""
    return {
        unescape(title): color for title, color in re.findall(r'<td title="([^"]*)" style="background:([^;"]*)', page)
    }


def test_user_defined_names_are_escaped():
    confusion = np.eye(len(NAMES)).tolist()
    text = filled(NAMES, confusion, title="<b>run & co</b>", facts={"<i>": "</dl>"}, configuration="</pre><h2>x</h2>")
    assert Reader(text).headings == ["Classes", "Confusion matrix", "Configuration"]
    assert "<b>" not in text
    assert "&lt;/dl&gt;" in text
    assert all(cells(text)[f"{name}, {name}: 100.0 %"] for name in NAMES)


def test_cells_darken_with_their_fraction_and_nan_is_empty():
    found = cells(filled(["a", "b"], [[0.0, 0.5], [1.0, math.nan]]))
    assert found == {
        "a, a: 0.0 %": "rgb(8 81 156/0.000)",
        "a, b: 50.0 %": "rgb(8 81 156/0.500)",
        "b, a: 100.0 %": "rgb(8 81 156/1.000)",
    }


def test_zeros_are_left_out_with_many_classes():
    names = [f"class {index}" for index in range(150)]
    text = filled(names, np.eye(150).tolist())
    assert len(cells(text)) == 150
    assert text.count("<td></td>") == 150 * 149
    assert len(text) < 300_000
