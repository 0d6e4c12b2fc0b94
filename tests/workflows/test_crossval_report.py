"""Pooled scores, and mean and deviation over the folds."""

import json
import math
from pathlib import Path

import pytest

from segnet.classes import Classes
from segnet.workflows.crossval_report import CrossvalScores, write_crossval_report
from segnet.workflows.finished_folds import FinishedFold

CLASSES = Classes.create(["road", "<sky>", "tree"])
# tree is in the second fold alone
FOLDS = [
    FinishedFold(Path("fold1"), "best.ckpt", 2, [[6, 2, 0], [0, 2, 0], [0, 0, 0]], {"a": 0.5, "b": math.nan}),
    FinishedFold(Path("fold2"), "best.ckpt", 1, [[4, 0, 1], [1, 3, 0], [0, 0, 1]], {"s/c": 0.25}),
]


def test_pooled_scores_come_from_the_sum_of_the_matrices():
    scores = CrossvalScores.of(FOLDS, CLASSES)
    assert scores.pooled.iou == pytest.approx([10 / 14, 5 / 8, 1 / 2])
    assert scores.pooled.miou == pytest.approx((10 / 14 + 5 / 8 + 1 / 2) / 3)
    first, second = (6 / 8 + 2 / 4) / 2, (4 / 6 + 3 / 4 + 1 / 2) / 3
    assert scores.miou.mean == pytest.approx((first + second) / 2)
    assert scores.miou.deviation == pytest.approx(abs(first - second) / math.sqrt(2))
    assert scores.iou[2].mean == pytest.approx(1 / 2)  # of one fold
    assert math.isnan(scores.iou[2].deviation)


def test_the_report_has_all_numbers_and_escapes_names(tmp_path):
    write_crossval_report(tmp_path, CrossvalScores.of(FOLDS, CLASSES))
    record = json.loads((tmp_path / "crossval.json").read_text())
    assert record["num_images"] == 3
    assert record["folds"][0]["iou"] == [0.75, 0.5, None]
    assert record["pooled"]["classes"]["tree"]["sd_iou"] is None
    assert record["image_miou"] == {"a": 0.5, "b": None, "s/c": 0.25}
    page = (tmp_path / "report.html").read_text()
    assert "</i>&lt;sky&gt;</td>" in page
    assert page.index("masks/s/c.png") < page.index("masks/a.png")  # the lowest mIoU first
    assert "masks/b.png" not in page
    assert "61.3 %" in page
