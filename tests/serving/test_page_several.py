"""The page with several classes per pixel: an image with a red half, a green half, and a middle of both."""

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
from browsing import canvas, legend, place, seen, shown
from PIL import Image
from playwright import sync_api as playwright
from served import SEVERAL, encoded

from segnet.classes import Classes
from segnet.data.datasets.planes import PlaneLabels
from segnet.inference.segmentation import Segmentation

RED, GREEN, BOTH = SEVERAL.palette
MEAN = [80, 67, 30]  # of all three


@pytest.fixture(autouse=True)
def _several(overlapping):
    pass


def overlapping_image(height=12, width=30):
    """Red left of two thirds, green right of one third; the upper two rows have no class."""
    image = np.zeros((height, width, 3), np.uint8)
    image[2:, : width * 2 // 3, 0] = 200
    image[2:, width // 3 :, 1] = 200
    return image


def test_a_pixel_has_the_mean_color_of_its_classes_and_outlines(page):
    assert page.locator("#model").inner_text() == "run/best.ckpt · 3 overlapping classes"
    shown(page, encoded(overlapping_image()))
    drawn = canvas(page)
    assert (drawn[:2, :, 3] == 0).all()
    assert (drawn[3:, :9] == [*RED, 255]).all()
    assert (drawn[4, 12:18] == [*MEAN, 255]).all()
    assert (drawn[5, 10] == [*BOTH, 255]).all()  # the outline of the last class that ends there
    assert (drawn[5, 20] == [*GREEN, 255]).all()
    expected = Segmentation(np.zeros((12, 30, 3), np.uint8), planes_of(overlapping_image()), SEVERAL).colors()
    np.testing.assert_array_equal(drawn[2:, :, :3], expected[2:])
    assert legend(page) == ["red 55.6%", "green 55.6%", "both 27.8%"]
    assert page.locator("#overlay").get_attribute("aria-label") == "Classes shown: red, green, both"
    page.mouse.move(*place(page, 15, 6, (30, 12)))
    assert page.locator("#pointed").inner_text() == "red + green + both 62% at 15, 6"
    page.mouse.move(*place(page, 15, 0, (30, 12)))
    assert page.locator("#pointed").inner_text() == "no class 75% at 15, 0"


def planes_of(image):
    bright = image[:, :, :2] > 127
    return np.stack([bright[:, :, 0], bright[:, :, 1], bright.all(axis=2)]).astype(np.uint8)


def test_each_class_is_toggled(page):
    shown(page, encoded(overlapping_image()))
    for name in ("both", "green"):
        page.get_by_role("checkbox", name=name).uncheck()
    drawn = canvas(page)
    assert (drawn[2:, :20] == [*RED, 255]).all()
    assert (drawn[:, 20:, 3] == 0).all()
    page.get_by_role("button", name="Hide all").click()
    assert (canvas(page)[:, :, 3] == 0).all()
    page.get_by_role("checkbox", name="green").check()
    assert (canvas(page)[2:, 10:] == [*GREEN, 255]).all()


def test_corrections_are_not_offered(page, server):
    shown(page, encoded(overlapping_image()))
    for name in ("Paint", "Undo"):
        assert not page.get_by_text(name, exact=True).is_visible()
    for key in ("b", "f", "e"):
        page.keyboard.press(key)
    before = canvas(page)
    page.mouse.click(*place(page, 15, 6, (30, 12)))
    np.testing.assert_array_equal(canvas(page), before)
    page.locator("#refining summary").click()
    assert page.get_by_label("Thresholds", exact=True).get_attribute("placeholder") == "red=0.5,green=0.5,both=0.5"
    assert not page.get_by_label("Ignore below probability").is_visible()


def test_downloads(page, tmp_path):
    shown(page, encoded(overlapping_image()))
    page.get_by_label("Opacity of the classes").fill("100")
    names = {"#mask": "street_mask.tif", "#polygons": "street.geojson", "#overlaid": "street_overlay.png"}
    for button, name in names.items():
        with page.expect_download() as download:
            page.locator(button).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    classes = Classes.create(SEVERAL.names, task="multilabel")
    found = PlaneLabels(classes).read(tmp_path / "street_mask.tif")
    np.testing.assert_array_equal(found, planes_of(overlapping_image()))
    overlay = np.array(Image.open(tmp_path / "street_overlay.png").convert("RGB"))
    assert overlay[4, 15].tolist() == MEAN


def test_the_confidence_is_that_of_the_least_certain_answer(page):
    shown(page, encoded(overlapping_image(10, 40)))
    page.keyboard.press("4")
    left, right = seen(page)
    np.testing.assert_allclose(left, right, atol=3)  # both are sure to 0.75 that a class is missing
    page.keyboard.press("1")
    playwright.expect(page.locator("#images small")).to_have_text(["segmented"])
