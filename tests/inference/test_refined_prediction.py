"""The Predictor with a refinement and with smoothing: whole images, windows, streams, batches, out of memory."""

import numpy as np
import pytest
import torch
from color_model import CLASSES, ColorModel, blotches, install, probabilities_of

from segnet.errors import ConfigError
from segnet.images.regions import fill_in_strips
from segnet.inference.predictor import Predictor
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner
from segnet.inference.smoothing import Smoothing

REFINEMENT = Refinement.read(threshold="blue=0.3", refuse=0.6, min_area=12)


def expected_mask(image, refinement=REFINEMENT):
    return Refiner(refinement, CLASSES).mask(torch.tensor(probabilities_of(image), dtype=torch.float32))


def test_masks_are_those_of_the_probabilities(monkeypatch):
    install(monkeypatch)
    image = blotches()
    predictor = Predictor("a.ckpt", refinement=REFINEMENT)
    result = predictor(image)
    expected = expected_mask(image)
    plain = predictor(image, refinement=Refinement())
    assert {*np.unique(expected)} == {0, 1, 2, 255}
    np.testing.assert_array_equal(result.mask, expected)
    np.testing.assert_array_equal(plain.mask, image.argmax(axis=2))
    assert result.refused == (expected == 255).sum() > 0
    assert plain.refused == 0
    assert sum(result.pixels.values()) + result.refused == image.shape[0] * image.shape[1]
    assert result.shares["blue"] == (expected == 2).mean()
    # Overlay and polygons show the same mask: refused pixels are white, and outside of every polygon.
    np.testing.assert_array_equal(result.colors()[expected == 255], 255)
    areas = dict.fromkeys(range(3), 0.0)
    for polygon in result.polygons():
        areas[polygon.class_id] += polygon.area
    assert areas == {index: (expected == index).sum() for index in range(3)}


def test_windows_streams_and_batches_give_the_same_mask(monkeypatch):
    """The model sees each pixel alone, so windows have no influence; regions cross their borders."""
    install(monkeypatch)
    image, expected = blotches(), expected_mask(blotches())
    np.testing.assert_array_equal(Predictor("a.ckpt", window=17, refinement=REFINEMENT)(image).mask, expected)
    predictor = Predictor("a.ckpt", window=17, batch_size=2, refinement=REFINEMENT)
    for result in predictor.batch([image, image[:16, :16], image]):
        np.testing.assert_array_equal(
            result.mask, expected if len(result.mask) > 16 else expected_mask(image[:16, :16])
        )
    mask = np.full(image.shape[:2], 77, np.uint8)

    def write(window, ids):
        mask[window.within()] = ids

    def stream(**options):
        predictor.stream(mask.shape, lambda window: image[window.within()], write, **options)

    with pytest.raises(ConfigError, match="min_area: tiles cut regions"):
        stream()
    stream(refinement=REFINEMENT.by_pixel())
    filled = mask.copy()
    fill_in_strips(
        mask.shape,
        lambda top, end: mask[top:end],
        lambda top, rows: filled.__setitem__(slice(top, top + len(rows)), rows),
        predictor.least_areas,
        300,
    )
    np.testing.assert_array_equal(filled, expected)


def test_the_default_needs_no_probabilities(monkeypatch):
    install(monkeypatch)
    predictor = Predictor("a.ckpt")
    monkeypatch.setattr("segnet.inference.tta.Inference.averaged", None)
    image = blotches()
    np.testing.assert_array_equal(predictor(image).mask, image.argmax(axis=2))
    assert predictor(image, refinement=Refinement(min_area=5)).refused == 0


def test_an_ensemble_is_averaged_first(monkeypatch):
    install(monkeypatch)
    image = blotches()
    found = Predictor(["a.ckpt", "b.ckpt"], refinement=REFINEMENT)(image, probabilities=True)
    np.testing.assert_array_equal(found.mask, expected_mask(image))
    np.testing.assert_allclose(found.probabilities, probabilities_of(image), atol=1e-3)


def test_an_export_of_class_ids_has_no_probabilities(monkeypatch):
    model = install(monkeypatch)
    model.has_probabilities = False
    predictor = Predictor("ids.onnx", refinement=Refinement(min_area=3))
    for options in ({"refuse": 0.5}, {"threshold": {"red": 0.5}}):
        with pytest.raises(ConfigError, match=f"{next(iter(options))}: ids.onnx gives class ids without probabilities"):
            predictor(blotches(), refinement=Refinement(**options))


def test_an_unknown_class_is_refused_with_a_suggestion(monkeypatch):
    install(monkeypatch)
    with pytest.raises(ConfigError, match=r"threshold: 'gren' is no class of this model. Did you mean 'green'"):
        Predictor("a.ckpt", refinement=Refinement(threshold={"gren": 0.5}))


@pytest.mark.parametrize("options", [{}, {"window": 17}, {"batch_size": 4}])
def test_frames_are_averaged_before_thresholds(monkeypatch, options):
    install(monkeypatch)
    frames = [blotches(seed=seed) for seed in range(4)]
    smoothing = Smoothing(0.7)
    results = Predictor("a.ckpt", refinement=REFINEMENT, **options).batch(frames, True, smoothing=smoothing)
    average = probabilities_of(frames[0])
    for frame, result in zip(frames, results, strict=True):
        average = 0.7 * average + 0.3 * probabilities_of(frame)
        np.testing.assert_allclose(result.probabilities, average, atol=1e-3)
        expected = Refiner(REFINEMENT, CLASSES).mask(torch.tensor(average, dtype=torch.float32))
        assert (result.mask != expected).mean() < 0.005  # rounding at a threshold


def test_frames_of_another_size_start_again_in_their_order(monkeypatch):
    install(monkeypatch)
    one, other = blotches(), blotches(40, 40)
    results = Predictor("a.ckpt").batch([one, other, one], True, smoothing=Smoothing(0.9))
    np.testing.assert_array_equal(results[0].probabilities, results[2].probabilities)


def test_a_retry_after_out_of_memory_averages_each_frame_once(monkeypatch):
    frames = [blotches(seed=seed) for seed in range(3)]
    install(monkeypatch)
    expected = Predictor("a.ckpt").batch(frames, True, smoothing=Smoothing(0.7))
    model = install(monkeypatch, ColorModel(pixels=60 * 80))
    found = Predictor("a.ckpt", batch_size=3).batch(frames, True, smoothing=Smoothing(0.7))
    assert model.num_calls == 1 + 3
    for one, two in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.probabilities, two.probabilities)
