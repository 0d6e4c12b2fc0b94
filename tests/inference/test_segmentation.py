import io

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.errors import ConfigError
from segnet.images.drawing import overlay
from segnet.inference.segmentation import Segmentation

CLASSES = Classes.create(["a", "b", "c"], [[0, 0, 0], [200, 100, 0], [0, 0, 255]], 255)
MASK = np.array([[0, 1], [1, 1]], np.uint8)


def test_class_fractions_include_every_class():
    assert Segmentation(np.zeros((2, 2, 3), np.uint8), MASK, CLASSES).shares == {"a": 0.25, "b": 0.75, "c": 0.0}


def test_overlay_blends_image_and_colors():
    image = np.full((2, 2, 3), 100, np.uint8)
    mixed = Segmentation(image, MASK, CLASSES).overlay(0.25)
    np.testing.assert_array_equal(mixed, overlay(image, MASK, CLASSES, 0.25))
    assert mixed[0, 1].tolist() == [125, 100, 75]


@pytest.mark.parametrize("channels", [1, 5])
def test_overlay_works_with_any_number_of_channels(channels):
    image = np.random.default_rng(0).random((2, 2, channels)).astype(np.float32)
    assert Segmentation(image, MASK, CLASSES).overlay().shape == (2, 2, 3)


@pytest.mark.parametrize("channels", [3, 5])
def test_a_notebook_shows_the_overlay(channels):
    image = np.random.default_rng(0).integers(0, 256, (30, 20, channels)).astype(np.uint8)
    result = Segmentation(image, np.arange(600).reshape(30, 20).astype(np.uint8) % 3, CLASSES)
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        np.testing.assert_array_equal(np.asarray(shown), result.overlay())


def test_a_notebook_shows_large_images_subsampled():
    mask = np.zeros((3000, 5000), np.uint8)
    mask[:1500] = 1
    result = Segmentation(np.full((3000, 5000, 3), 100, np.uint8), mask, CLASSES)
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.size == (1667, 1000)
        assert shown.getpixel((5, 5)) == tuple(result.overlay()[0, 0])
        assert shown.getpixel((5, 995)) == tuple(result.overlay()[-1, 0])


def test_pixels_and_confidence_match_the_mask():
    probabilities = np.array([[[0.75, 0.25], [0.0, 0.5]], [[0.25, 0.75], [1.0, 0.5]]], np.float16)
    classes = Classes.create(["a", "b"])
    result = Segmentation(np.zeros((2, 2, 3), np.uint8), MASK, classes, probabilities)
    assert result.pixels == {"a": 1, "b": 3}
    assert result.confidence.tolist() == [[0.75, 0.75], [1.0, 0.5]]


def test_only_selected_classes_are_drawn():
    image = np.full((2, 2, 3), 100, np.uint8)
    result = Segmentation(image, MASK, CLASSES)
    drawn = result.overlay(only=["a"])
    assert drawn[0, 0].tolist() == [50, 50, 50]
    assert (drawn[MASK == 1] == 100).all()
    assert result.colors()[0, 1].tolist() == [200, 100, 0]
    assert result.colors(["a"])[0, 1].tolist() == [255, 255, 255]
    assert [polygon.class_id for polygon in result.polygons()] == [0, 1]
    assert [polygon.area for polygon in result.polygons(["b", "c"])] == [3]


def test_an_unknown_class_is_refused():
    with pytest.raises(ConfigError, match="'roda' is no class of this model"):
        Segmentation(np.zeros((2, 2, 3), np.uint8), MASK, CLASSES).polygons(["roda"])


OVERLAPPING = Classes.create(["disk", "ring"], [[200, 0, 0], [0, 100, 0]], task="multilabel")
PLANES = np.array([[[1, 1], [0, 0]], [[1, 0], [0, 0]]], np.uint8)


def test_a_pixel_counts_for_each_of_its_classes():
    found = Segmentation(np.zeros((2, 2, 3), np.uint8), PLANES, OVERLAPPING)
    assert found.pixels == {"disk": 2, "ring": 1}
    assert found.shares == {"disk": 0.5, "ring": 0.25}
    assert (found.size, found.refused) == ((2, 2), 0)
    np.testing.assert_array_equal(found.pixels_of("ring"), [[True, False], [False, False]])
    with pytest.raises(ConfigError, match="'rings' is no class"):
        found.pixels_of("rings")
    assert [(polygon.class_id, polygon.area) for polygon in found.polygons()] == [(0, 2), (1, 1)]
    assert found._repr_png_().startswith(b"\x89PNG")


def test_only_some_of_the_overlapping_classes_are_drawn():
    found = Segmentation(np.full((2, 2, 3), 50, np.uint8), PLANES, OVERLAPPING)
    assert found.colors(["ring"])[0].tolist() == [[0, 100, 0], [255, 255, 255]]
    np.testing.assert_array_equal(found.overlay(0.5, ["ring"])[0, 1], [50, 50, 50])


def test_the_confidence_of_several_answers_is_that_of_the_least_certain():
    probabilities = np.array([[[0.9, 0.3], [0.1, 0.5]], [[0.6, 0.25], [0.5, 0.0]]], np.float16)
    found = Segmentation(np.zeros((2, 2, 3), np.uint8), PLANES, OVERLAPPING, probabilities)
    np.testing.assert_allclose(found.confidence, [[0.6, 0.3], [0.5, 0.5]], atol=1e-3)
