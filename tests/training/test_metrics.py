import json
import math

import pytest
import torch

from segnet.classes import Classes
from segnet.training.metrics import ConfusionMatrix, Scores

IGNORED = 255


def by_hand(prediction: torch.Tensor, truth: torch.Tensor, num_classes: int) -> list[list[int]]:
    matrix = [[0] * num_classes for _ in range(num_classes)]
    for true, predicted in zip(truth.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if true != IGNORED:
            matrix[true][predicted] += 1
    return matrix


def sample(seed: int, dtype: torch.dtype = torch.int64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    prediction, truth = torch.randint(0, 5, (2, 2, 7, 9), generator=generator)
    truth[torch.rand(2, 7, 9, generator=generator) < 0.3] = IGNORED
    return prediction.to(dtype), truth.to(dtype)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_confusion_matrix_counts_truth_in_rows_and_prediction_in_columns(dtype):
    metric = ConfusionMatrix(5, IGNORED)
    prediction, truth = sample(0, dtype)
    metric.update(prediction, truth)
    assert metric.compute().tolist() == by_hand(prediction, truth, 5)
    assert metric.compute().dtype == torch.int64


def test_confusion_matrix_accumulates_over_updates_until_it_is_reset():
    metric = ConfusionMatrix(5, IGNORED)
    expected = torch.zeros(5, 5, dtype=torch.int64)
    for seed in range(3):
        metric.update(*sample(seed))
        expected += torch.tensor(by_hand(*sample(seed), 5))
    assert torch.equal(metric.compute(), expected)
    metric.reset()
    metric.update(*sample(4))
    assert metric.compute().tolist() == by_hand(*sample(4), 5)


def test_ignored_pixels_are_not_counted():
    metric = ConfusionMatrix(3, 9)
    metric.update(torch.tensor([0, 1, 2, 1]), torch.tensor([9, 9, 2, 9]))
    assert metric.compute().tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    metric.reset()
    metric.update(torch.tensor([0, 1]), torch.tensor([9, 9]))
    assert metric.compute().sum() == 0


def test_a_prediction_equal_to_ignore_index_elsewhere_still_counts():
    metric = ConfusionMatrix(300, IGNORED + 100)  # class 255 exists here
    metric.update(torch.tensor([255, 0]), torch.tensor([255, 355]))
    assert metric.compute()[255, 255] == metric.compute().sum() == 1


def test_counts_beyond_32_bit_are_exact():
    metric = ConfusionMatrix(2, IGNORED)
    start = 2**31 + 2**24 + 1
    metric.matrix = torch.tensor([[start, 0], [5, 2**40 + 1]])
    metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 1]))
    assert metric.compute().tolist() == [[start + 1, 0], [5, 2**40 + 3]]
    assert Scores.from_matrix(metric.compute()).pixels == [start + 1, 2**40 + 8]


def test_scores_by_hand():
    scores = Scores.from_matrix(torch.tensor([[50, 10, 0], [5, 30, 5], [0, 20, 80]]))
    assert scores.iou == pytest.approx([50 / 65, 30 / 70, 80 / 105])
    assert scores.dice == pytest.approx([100 / 115, 60 / 100, 160 / 185])
    assert scores.mean_dice == pytest.approx((100 / 115 + 60 / 100 + 160 / 185) / 3)
    assert scores.accuracy == pytest.approx([50 / 60, 30 / 40, 80 / 100])
    assert scores.precision == pytest.approx([50 / 55, 30 / 60, 80 / 85])
    assert scores.pixels == [60, 40, 100]
    assert scores.miou == pytest.approx((50 / 65 + 30 / 70 + 80 / 105) / 3)
    assert scores.num_averaged == 3
    assert scores.pixel_accuracy == pytest.approx(160 / 200)


def test_an_absent_class_is_nan_and_excluded_from_the_mean():
    scores = Scores.from_matrix(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 4]]))
    assert [math.isnan(value) for value in scores.iou] == [False, True, False]
    assert math.isnan(scores.accuracy[1])
    assert math.isnan(scores.precision[1])
    assert scores.miou == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert scores.num_averaged == 2


def test_a_class_that_is_only_predicted_has_iou_zero():
    scores = Scores.from_matrix(torch.tensor([[3, 1], [0, 0]]))
    assert scores.iou == [0.75, 0.0]
    assert math.isnan(scores.accuracy[1])
    assert scores.precision[1] == 0
    assert scores.miou == 0.375


def test_scores_without_labeled_pixels_are_nan_and_none():
    scores = Scores.from_matrix(torch.zeros(2, 2, dtype=torch.int64))
    assert math.isnan(scores.miou)
    assert math.isnan(scores.pixel_accuracy)
    assert scores.num_averaged == 0
    record = scores.to_dict(Classes.create(["a", "b"]))
    assert record["miou"] is record["pixel_accuracy"] is None


def test_to_dict_is_strict_json_with_none_for_nan():
    scores = Scores.from_matrix(torch.tensor([[3, 0, 1], [0, 0, 0], [0, 0, 4]]))
    record = json.loads(json.dumps(scores.to_dict(Classes.create(["a", "b", "c"])), allow_nan=False))
    assert list(record["classes"]) == ["a", "b", "c"]
    assert record["classes"]["b"] == {"iou": None, "dice": None, "accuracy": None, "precision": None, "pixels": 0}
    assert record["classes"]["a"] == {"iou": 0.75, "dice": 6 / 7, "accuracy": 0.75, "precision": 1.0, "pixels": 4}
    assert record["mean_dice"] == pytest.approx((6 / 7 + 8 / 9) / 2)
    assert record["miou"] == pytest.approx(0.775)
    assert record["num_classes_averaged"] == 2
    assert record["pixel_accuracy"] == pytest.approx(7 / 8)
    assert "TP / (TP + FP + FN)" in record["definition"]
