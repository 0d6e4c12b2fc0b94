"""Measures of uncertainty against NumPy in float64, and their means over whole images and windows."""

import shutil

import numpy as np
import pytest
import torch
from predicting import checkpoint_of, untrained

from segnet.classes import Classes
from segnet.errors import ConfigError, DataError
from segnet.inference.predictor import Predictor
from segnet.inference.uncertainty import MEASURES, Observer, uncertainty_of
from segnet.models.checkpoint import load_checkpoint, store_temperature
from segnet.models.temperature import Temperature

CLASSES = Classes.create(["road", "tree", "sky", "car"])


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [str(untrained(folder / f"{seed}.ckpt", CLASSES, seed)) for seed in (0, 1)]


def noise(*size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def reference(views: list[np.ndarray]) -> dict[str, np.ndarray]:
    """The measures of (classes, H, W) in float64."""
    views = [view.astype(np.float64) for view in views]
    mean = np.mean(views, axis=0)

    def entropy(values):
        return -(values * np.log(np.maximum(values, 1e-300))).sum(0) / np.log(len(values))

    ordered = np.sort(mean, axis=0)
    bald = entropy(mean) - np.mean([entropy(view) for view in views], axis=0)
    return {"entropy": entropy(mean), "margin": 1 - (ordered[-1] - ordered[-2]), "bald": bald}


def test_measures_agree_with_their_formulas():
    random = np.random.default_rng(0)
    views = [random.dirichlet([0.3] * 5, (1, 7, 9)).transpose(0, 3, 1, 2).astype(np.float32) for _ in range(3)]
    views[0][0, :, 0, 0] = [1, 0, 0, 0, 0]  # 0 log 0 is 0
    found = uncertainty_of(torch.from_numpy(view.copy()) for view in views)
    for name, expected in reference([view[0] for view in views]).items():
        assert found[name].shape == (1, 7, 9)
        np.testing.assert_allclose(found[name][0].numpy(), expected, atol=2e-6)


def test_extremes():
    """Certain predictions have 0, equal probabilities 1; certain views that disagree are all mutual information."""
    certain, even = torch.zeros(1, 2, 1, 1), torch.full((1, 2, 1, 1), 0.5)
    certain[:, 0] = 1
    for probabilities, expected in ((certain.clone(), 0), (even, 1)):
        found = uncertainty_of([probabilities])
        assert {name: values.item() for name, values in found.items()} == pytest.approx(
            {"entropy": expected, "margin": expected}  # one view has no mutual information
        )
    found = uncertainty_of([certain.clone(), certain.flip(1)])
    assert found["bald"].item() == pytest.approx(1)


@pytest.mark.parametrize("values", [(2.0,), (0.5, 3.0, 1.0, 1.5, 2.0)])
def test_a_temperature_calibrates_each_view(values):
    """softmax(logits / temperature of the predicted class), before the mean over the views."""
    random = np.random.default_rng(0)
    views = [random.dirichlet([0.3] * 5, (1, 7, 9)).transpose(0, 3, 1, 2).astype(np.float32) for _ in range(2)]
    views = [np.maximum(view, 1e-6) for view in views]
    calibrated = []
    for [view] in views:
        powers = view.astype(np.float64) ** (1 / np.array(values)[view.argmax(0) % len(values)])
        calibrated.append(powers / powers.sum(0))
    found = uncertainty_of((torch.from_numpy(view.copy()) for view in views), Temperature(values))
    for name, expected in reference(calibrated).items():
        np.testing.assert_allclose(found[name][0].numpy(), expected, atol=3e-6)


def test_an_observer_takes_the_temperature_of_its_checkpoint(checkpoints, tmp_path):
    shutil.copy(checkpoints[0], tmp_path / "calibrated.ckpt")
    store_temperature(tmp_path / "calibrated.ckpt", {"values": [3.0]})
    image = noise(21, 30)
    model, _ = load_checkpoint(checkpoints[0])
    with torch.inference_mode():
        logits = model.eval()(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[0]
    expected = reference([(logits / 3).softmax(0).numpy()])
    [found] = Observer(tmp_path / "calibrated.ckpt", "cpu").observe([image])
    assert found.scores["entropy"] == pytest.approx(expected["entropy"].mean(), rel=1e-4)
    assert found.scores["margin"] == pytest.approx(expected["margin"].mean(), rel=1e-4)


def test_scores_are_the_means_of_the_views_of_all_models(checkpoints):
    image = noise(21, 30)
    found = Observer(checkpoints, "cpu", flip=True).observe([image], maps=True)[0]
    views = []
    for checkpoint in checkpoints:
        predictor = Predictor(checkpoint, "cpu", runtime="torch")
        for shown in (image, image[:, ::-1]):
            probabilities = predictor.segment(np.ascontiguousarray(shown), probabilities=True).probabilities
            views.append(probabilities if shown is image else probabilities[:, :, ::-1])
    for name, expected in reference(views).items():
        np.testing.assert_allclose(found.maps[name], expected, atol=3e-3)  # their probabilities are float16
        assert found.scores[name] == pytest.approx(found.maps[name].mean(dtype=np.float64), rel=1e-5)
    assert found.scores["bald"] > 0.01


def test_features_are_the_means_of_the_last_stage(checkpoints):
    image = noise(21, 30)
    observer = Observer(checkpoints[0], "cpu")
    model, _ = load_checkpoint(checkpoints[0])
    with torch.inference_mode():
        expected = model.eval().encode(torch.from_numpy(image.transpose(2, 0, 1).copy())[None])[-1].mean(dim=(0, 2, 3))
    [found] = observer.describe([image])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(observer.observe([image])[0].features, found, rtol=1e-5)


def test_a_batch_has_the_values_of_single_images(checkpoints):
    images = [noise(40, 30, seed=seed) for seed in range(3)]
    together = Observer(checkpoints[0], "cpu", batch_size=2).observe(images)
    for image, found in zip(images, together, strict=True):
        [alone] = Observer(checkpoints[0], "cpu").observe([image])
        assert found.scores == pytest.approx(alone.scores, rel=1e-4)
        np.testing.assert_allclose(found.features, alone.features, rtol=1e-3, atol=1e-5)


def test_each_pixel_of_a_large_image_counts_once(checkpoints, monkeypatch):
    """Overlapping windows, in several strips: a map of the whole image, of which the score is the mean."""
    observer = Observer(checkpoints[0], "cpu", window=32)
    [found] = observer.observe([noise(50, 230)], maps=True)
    assert list(found.scores) == ["entropy", "margin"]
    for name, score in found.scores.items():
        assert score == pytest.approx(found.maps[name].mean(dtype=np.float64), rel=1e-4)
    values = {name: torch.full((1, 32, 32), 0.25) for name in MEASURES}
    monkeypatch.setattr(observer, "_measured", lambda images, inference: (values, torch.tensor([[3.0, 5.0]])))
    [found] = observer.observe([noise(50, 230)], maps=True)
    assert found.scores == pytest.approx(dict.fromkeys(MEASURES, 0.25))
    np.testing.assert_allclose(found.maps["entropy"], 0.25, rtol=1e-4)
    np.testing.assert_allclose(found.features, [3, 5], rtol=1e-5)


def test_after_out_of_memory_smaller_windows_are_tried(checkpoints, monkeypatch):
    observer = Observer(checkpoints[0], "cpu")
    whole, tried = observer._measured, []

    def failing(images, inference):
        tried.append(max(images[0].shape[:2]))
        if tried[-1] > 200:
            raise MemoryError
        return whole(images, inference)

    monkeypatch.setattr(observer, "_measured", failing)
    assert 0 < observer.observe([noise(260, 300)])[0].scores["entropy"] <= 1
    assert tried[0] == 300
    assert max(tried[1:]) == 150


def test_other_images_and_models_are_refused(checkpoints, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="the model takes"):
        Observer(checkpoint_of(5, tmp_path / "five.ckpt"), "cpu").observe([noise(20, 20)])
    with pytest.raises(ConfigError, match=r"model\.onnx: an exported model gives no features: name its checkpoint"):
        Observer([tmp_path / "model.onnx"], "cpu")
    monkeypatch.setattr(Classes, "is_multilabel", True)
    with pytest.raises(ConfigError, match="rank takes models of one class per pixel, not task=multilabel"):
        Observer(checkpoints[0], "cpu")
