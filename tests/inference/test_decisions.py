"""From logits to masks, for one and for several classes per pixel."""

import numpy as np
import pytest
import torch

from segnet.classes import Classes
from segnet.inference.decisions import AnyClasses, OneClass, decision_of
from segnet.inference.tta import Inference

SEVERAL = Classes.create(["a", "b"], task="multilabel", thresholds=[0.25, 0.5])


def test_the_decision_follows_the_task():
    assert isinstance(decision_of(Classes.create(["a", "b"])), OneClass)
    assert isinstance(decision_of(SEVERAL), AnyClasses)


def test_a_pixel_has_each_class_that_reaches_its_threshold():
    decision = decision_of(SEVERAL)
    probabilities = torch.tensor([[0.25, 0.2499, 0.9, 0.0], [0.5, 0.4999, 0.9, 0.1]]).view(2, 1, 4)
    assert decision.masks(probabilities).tolist() == [[[1, 0, 1, 0]], [[1, 0, 1, 0]]]
    assert decision.masks(probabilities).dtype == torch.uint8
    assert decision.masks(torch.full((2, 1, 1), float("nan"))).tolist() == [[[0]], [[0]]]


def test_exclusive_classes_have_one():
    scores = torch.tensor([[0.1, 0.9], [0.2, 0.3]]).view(2, 1, 2)
    assert OneClass().masks(scores).tolist() == [[1, 0]]


@pytest.mark.parametrize("classes", [SEVERAL, Classes.create(["a", "b", "c"])])
def test_logits_of_probabilities_give_them_again(classes):
    decision = decision_of(classes)
    logits = torch.randn(1, len(classes.names), 4, 5, generator=torch.Generator().manual_seed(0))
    inference = decision.fitted(Inference())
    probabilities = inference(lambda images: logits.clone(), torch.zeros(1, 3, 4, 5))
    again = inference(lambda images: decision.as_logits(probabilities), torch.zeros(1, 3, 4, 5))
    torch.testing.assert_close(again, probabilities)
    assert torch.isfinite(decision.as_logits(torch.zeros(1, 2, 1, 1))).all()
    assert torch.isfinite(decision.as_logits(torch.ones(1, 2, 1, 1))).all()


def test_augmentation_and_windows_average_sigmoids():
    decision = decision_of(SEVERAL)
    weight = torch.randn(2, 3, 1, 1, generator=torch.Generator().manual_seed(1)) / 100
    ramp = torch.linspace(-1, 1, 40)

    def model(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(images.float(), weight) + ramp[: images.shape[3]]

    images = torch.randint(0, 256, (1, 3, 40, 40), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    flipped = decision.fitted(Inference(flip=True))(model, images)
    expected = (model(images).sigmoid() + model(images.flip(3)).flip(3).sigmoid()) / 2
    torch.testing.assert_close(flipped, expected)
    slid = decision.fitted(Inference(window=24, overlap=0.5))(lambda part: model(part) * 0 + 0.3, images)
    np.testing.assert_allclose(slid.numpy(), 1 / (1 + np.exp(-0.3)), rtol=1e-5)
