"""A validation counts the masks that a Predictor with the same refinement gives."""

import numpy as np
import pytest
import torch
from color_model import CLASSES, SCALE, blotches, probabilities_of
from tiny import components

from segnet.config import OptimConfig
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner
from segnet.inference.tta import Inference
from segnet.training.boundary_metrics import BoundaryCounts
from segnet.training.task import SegmentationTask


class Colors(torch.nn.Module):
    """The model of tests/color_model.py."""

    def forward(self, images):
        return images.float() / SCALE


@pytest.fixture(scope="module")
def task():
    model = {**components(), "mean": [0.5] * 3, "std": [0.5] * 3}
    task = SegmentationTask.create(
        model=model, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig()
    ).eval()
    task.model = Colors()
    return task


IMAGES = [blotches(seed=seed) for seed in range(2)]
TRUTH = np.stack([blotches(seed=seed).argmax(axis=2) for seed in (5, 6)])
TRUTH[:, :10] = CLASSES.ignore_index


def measured(task, **options):
    """The confusion matrix, the refused pixels and the loss."""
    task.refiner, task.inference = Refiner(Refinement.read(**options), CLASSES), task.inference
    task.on_validation_epoch_start()
    with torch.inference_mode():
        loss = task.measure(torch.tensor(np.stack(IMAGES)).permute(0, 3, 1, 2), torch.tensor(TRUTH))
    return task.confusion.matrix.numpy().copy(), task.refused, float(loss)


@pytest.mark.parametrize("window", [None, 17])
@pytest.mark.parametrize(
    "options",
    [{}, {"threshold": "blue=0.3"}, {"min_area": 12}, {"refuse": 0.6, "threshold": "blue=0.3", "min_area": "12,red=3"}],
)
def test_the_masks_are_counted(task, options, window):
    task.inference = Inference(window=window)
    matrix, refused, _ = measured(task, **options)
    refiner = Refiner(Refinement.read(**options), CLASSES)
    masks = np.stack([refiner.mask(torch.tensor(probabilities_of(image), dtype=torch.float32)) for image in IMAGES])
    labeled = CLASSES.ignore_index != TRUTH
    expected = [[(labeled & (true == TRUTH) & (masks == found)).sum() for found in range(3)] for true in range(3)]
    np.testing.assert_array_equal(matrix, expected)
    assert refused == (labeled & (masks == CLASSES.ignore_index)).sum()
    assert (refused > 0) == ("refuse" in options)


def test_the_loss_is_that_of_all_pixels(task):
    task.inference = Inference()
    *_, plain = measured(task)
    *_, refined = measured(task, refuse=0.6, threshold="blue=0.3", min_area=12)
    assert refined == pytest.approx(plain, rel=1e-5)


def test_boundaries_are_those_of_filled_masks(task):
    for window in (None, 17):
        task.inference, task.boundary = Inference(window=window), BoundaryCounts(3, CLASSES.ignore_index, 0.03)
        measured(task, min_area=12)
        found = task.boundary.scores()
        expected = BoundaryCounts(3, CLASSES.ignore_index, 0.03)
        refiner = Refiner(Refinement(min_area=12), CLASSES)
        masks = np.stack([refiner.by_region(image.argmax(axis=2).astype(np.uint8)) for image in IMAGES])
        expected.update(torch.tensor(masks), torch.tensor(TRUTH))
        assert found == expected.scores()
    task.boundary = None
