"""The fields for thresholds, refusal and smallest regions on the page."""

import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
from browsing import shown

from segnet.inference.refinement import Refinement


def test_filled_fields_go_with_each_image_and_its_polygons(page, server):
    asked = server.predictor.refinements
    shown(page)
    assert asked == [Refinement()]
    page.get_by_text("Thresholds and specks").click()
    page.get_by_label("Thresholds", exact=True).fill("dark=0.3")
    page.get_by_label("Ignore below probability").press_sequentially("0.7")  # no keys of the page
    page.get_by_label("Smallest region in pixels").fill("50,dark=10")
    page.get_by_role("button", name="Segment this image again").click()
    page.wait_for_function("() => document.querySelector('#facts').textContent.includes('refuse=0.7')")
    expected = Refinement.read(threshold="dark=0.3", refuse=0.7, min_area="50,dark=10")
    assert asked[1:] == [expected]
    assert page.locator("#images li").count() == 2
    page.get_by_label("Ignore below probability").fill("")
    with page.expect_download():
        page.locator("#polygons").click()
    assert asked[2:] == [expected]  # those of the shown mask
    page.locator("#images .thumb").first.click()
    page.wait_for_function("() => !document.querySelector('#facts').textContent.includes('refuse')")


def test_a_wrong_value_is_reported(page):
    page.get_by_text("Thresholds and specks").click()
    page.get_by_label("Thresholds", exact=True).fill("0.3")
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"image"})
    page.get_by_role("alert").wait_for()
    assert "threshold=0.3 names no class" in page.get_by_role("alert").inner_text()


class TestWithOptionsOfTheServer:
    @pytest.fixture
    def predictor_refinement(self):
        return Refinement.read(threshold="dark=0.4", refuse=0.6, min_area="9,dark=3")

    def test_they_are_shown_in_gray(self, predictor_refinement, page):
        names = ("threshold", "refuse", "min_area")
        fields = {name: page.locator(f"#{name}").get_attribute("placeholder") for name in names}
        assert fields == {"threshold": "dark=0.4", "refuse": "0.6", "min_area": "9,dark=3"}
