"""Ensembles: the mean of the probabilities of several models."""

import numpy as np
import pytest
import torch
from predicting import CLASSES, checkpoint_of, untrained
from tiny import assert_same_classes

from segnet.classes import Classes
from segnet.errors import CheckpointError, ConfigError
from segnet.images.windows import Window
from segnet.inference.ensemble import require_same_inputs
from segnet.inference.predictor import Predictor
from segnet.inference.tta import Inference
from segnet.models.checkpoint import load_checkpoint

OTHER_ORDER = Classes.create(["sky", "road", "tree"])
ORDER = [1, 2, 0]  # ids of CLASSES in OTHER_ORDER
OPTIONS = [{}, {"flip": True, "scales": (0.75, 1.0)}, {"window": 24, "overlap": 0.5}, {"window": 32, "flip": True}]


@pytest.fixture
def models(tmp_path):
    """Two models of other strides, normalizations and orders of the classes."""
    return [
        untrained(tmp_path / "a.ckpt", CLASSES, seed=1),
        untrained(tmp_path / "b.ckpt", OTHER_ORDER, seed=2, output_stride=8, mean=0.3),
    ]


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


def mean_by_hand(models, image, **options):
    """Mean over the models of each one's own probabilities, (classes, H, W), in the order of the first."""
    tensor = torch.tensor(image).permute(2, 0, 1)[None]
    first, second = (Inference(**options)(load_checkpoint(path)[0], tensor)[0].numpy() for path in models)
    return (first + second[ORDER]) / 2


@pytest.mark.parametrize("options", OPTIONS)
def test_an_ensemble_predicts_the_mean_of_the_probabilities(models, image, options):
    expected = mean_by_hand(models, image, **options)
    predictor = Predictor(models, "cpu", **options)
    assert predictor.classes == CLASSES
    result = predictor(image, probabilities=True)
    np.testing.assert_allclose(result.probabilities, expected, atol=1e-3)  # float16
    assert_same_classes(result.mask, expected.argmax(axis=0))
    assert_same_classes(predictor(image).mask, expected.argmax(axis=0))
    singles = [Predictor(path, "cpu", **options)(image).mask for path in models]
    assert (result.mask != singles[0]).any()
    assert (result.mask != np.argsort(ORDER)[singles[1]]).any()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_list_of_one_equals_the_model_bit_for_bit(models, image, options):
    one, alone = Predictor(models[:1], "cpu", **options), Predictor(models[0], "cpu", **options)
    for wanted in (False, True):
        found, expected = one(image, probabilities=wanted), alone(image, probabilities=wanted)
        np.testing.assert_array_equal(found.mask, expected.mask)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_a_scene_is_streamed_through_all_models(models, image):
    mask = np.full(image.shape[:2], 99)

    def write(part: Window, ids: np.ndarray) -> None:
        mask[part.within()] = ids

    Predictor(models, "cpu", window=24).stream(mask.shape, lambda window: image[window.within()], write)
    assert_same_classes(mask, mean_by_hand(models, image, window=24).argmax(axis=0))


def test_models_of_other_classes_are_refused(models, tmp_path):
    other = untrained(tmp_path / "c.ckpt", Classes.create(["road", "tree", "sea"]))
    with pytest.raises(CheckpointError, match=r"c\.ckpt: lacks the class 'sky' of .*a\.ckpt: only models of the same"):
        Predictor([models[0], other], "cpu")
    more = untrained(tmp_path / "d.ckpt", Classes.create(["road", "tree", "sky", "sea"]))
    with pytest.raises(CheckpointError, match=r"a\.ckpt: lacks the class 'sea' of .*d\.ckpt"):
        Predictor([models[0], more], "cpu")


def test_models_of_other_images_are_refused(models, tmp_path):
    with pytest.raises(CheckpointError, match=r"e\.ckpt: takes images of 4 channels, but .*a\.ckpt of 3"):
        Predictor([models[0], checkpoint_of(4, tmp_path / "e.ckpt")], "cpu")
    with pytest.raises(CheckpointError, match=r"b: was trained with dataset.value_range=\[0.0, 9.0\], but a with None"):
        require_same_inputs((3, None), (3, (0.0, 9.0)), "a", "b")


def test_no_model_is_refused():
    with pytest.raises(ConfigError, match="no model: name at least one checkpoint"):
        Predictor([])
