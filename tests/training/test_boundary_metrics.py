"""Boundary IoU equals its reference definition; trimap mIoU equals a count by hand."""

import math

import cv2
import numpy as np
import pytest
import torch

from segnet.errors import ConfigError
from segnet.training.boundary_metrics import BoundaryCounts

IGNORED = 255


def reference_boundary(binary, ratio):
    """The boundary of a binary mask by the definition of arXiv 2103.16562: what `width` erosions remove.

    A frame of zeros stands for the outside of the image, so that the border of the image is a boundary too.
    """
    height, width = binary.shape
    iterations = max(1, round(float(ratio * np.sqrt(height**2 + width**2))))
    framed = np.pad(binary, 1)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=iterations)[1:-1, 1:-1]
    return binary - eroded


def images(count, size=(60, 80), classes=4, ignored=False):
    """Pairs of a true mask and a prediction that is shifted and has holes."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        truth = np.zeros(size, np.uint8)
        for label in range(1, classes):
            top, left = generator.integers(0, 40), generator.integers(0, 60)
            truth[top : top + 25, left : left + 30] = label
        predicted = np.roll(truth, generator.integers(-4, 5, 2), axis=(0, 1))
        predicted[generator.random(size) < 0.01] = 2
        if ignored:
            truth[20:30, 10:70] = IGNORED
        yield predicted, truth


@pytest.mark.parametrize("ratio", [0.005, 0.02, 0.1, 0.5])
def test_boundary_iou_equals_the_reference_definition(ratio):
    """Intersections and unions are summed over the images before they are divided, as for the IoU."""
    counts = BoundaryCounts(4, IGNORED, ratio)
    intersection, union = np.zeros(4), np.zeros(4)
    for predicted, truth in images(6):
        counts.update(torch.tensor(predicted)[None].long(), torch.tensor(truth)[None])
        for label in range(4):
            true = reference_boundary((truth == label).astype(np.uint8), ratio)
            found = reference_boundary((predicted == label).astype(np.uint8), ratio)
            intersection[label] += ((true * found) > 0).sum()
            union[label] += ((true + found) > 0).sum()
    scores = counts.scores()
    assert scores.boundary_iou == pytest.approx(intersection / union)
    assert scores.boundary_miou == pytest.approx((intersection / union).mean())


def test_boundary_iou_by_hand():
    """A square of 6 x 6 with a true boundary of 20 pixels, found one column too far to the right.

    The rings share five pixels of the top row and five of the bottom row; their union is 20 + 20 - 10.
    """
    truth = torch.zeros(12, 12, dtype=torch.int64)
    predicted = truth.clone()
    truth[3:9, 3:9] = 1
    predicted[3:9, 4:10] = 1
    counts = BoundaryCounts(3, IGNORED, 0.02)
    counts.update(predicted, truth)
    scores = counts.scores()
    assert scores.boundary_iou[1] == pytest.approx(10 / 30)
    assert math.isnan(scores.boundary_iou[2])
    assert scores.boundary_miou == pytest.approx((scores.boundary_iou[0] + 10 / 30) / 2)


def test_trimap_iou_by_hand():
    """Half the image each; the band is the two columns at the true boundary. Errors elsewhere do not count."""
    truth = torch.zeros(5, 8, dtype=torch.int64)
    truth[:, 4:] = 1
    predicted = truth.clone()
    predicted[:, 3] = 1  # 5 of the 10 pixels of the band
    predicted[:, 7] = 0
    counts = BoundaryCounts(2, IGNORED, 0.02)
    counts.update(predicted, truth)
    assert counts.scores().trimap_iou == [0.0, 0.5]
    assert counts.scores().trimap_miou == 0.25


def test_ignored_pixels_do_not_count_and_are_no_boundary():
    for predicted, truth in images(2, ignored=True):
        changed = np.where(truth == IGNORED, (predicted + 1) % 4, predicted)
        found = []
        for mask in (predicted, changed):
            counts = BoundaryCounts(4, IGNORED, 0.02)
            counts.update(torch.tensor(mask), torch.tensor(truth))
            found.append(counts.scores())
        assert found[0] == found[1]
    truth = torch.zeros(1, 40, dtype=torch.int64)
    truth[0, 15:25] = IGNORED
    counts = BoundaryCounts(1, IGNORED, 0.02)
    counts.update(torch.zeros_like(truth), truth)
    assert counts._boundary.tolist() == [[30], [30], [30]]  # one row: everything is at the image border
    assert counts._trimap.tolist() == [[0], [0], [0]]
    assert math.isnan(counts.scores().trimap_miou)


def test_counts_start_again_after_reset():
    counts = BoundaryCounts(4, IGNORED, 0.02)
    pairs = [(torch.tensor(predicted), torch.tensor(truth)) for predicted, truth in images(2)]
    counts.update(*pairs[0])
    first = counts.scores()
    counts.update(*pairs[1])
    assert counts.scores() != first
    counts.reset()
    counts.update(*pairs[0])
    assert counts.scores() == first


@pytest.mark.parametrize("ratio", [0.0, -0.02, 1.0, math.nan])
def test_an_impossible_width_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"boundary=.* fraction of the image diagonal: write boundary=0\.02"):
        BoundaryCounts(2, IGNORED, ratio)
