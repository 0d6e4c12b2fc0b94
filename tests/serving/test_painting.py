"""Views and corrections on the web page. An image has 10 x 6 pixels; its left half is predicted as dark."""

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
from browsing import PREDICTED, drag, drawn, legend, pick, place, seen, shown, thin_brush
from PIL import Image
from playwright import sync_api as playwright
from served import CLASSES, encoded, halves

from segnet.classes import Classes, voc_palette
from segnet.inference.segmentation import Segmentation

DARK, LIGHT = CLASSES.palette[:2]


def test_views_and_the_line_between_two_of_them(page):
    shown(page)
    pick(page, "view", "mask")
    np.testing.assert_allclose(seen(page), (DARK, LIGHT), atol=1)
    pick(page, "view", "image")
    np.testing.assert_allclose(seen(page), ([0] * 3, [200] * 3), atol=8)
    pick(page, "view", "confidence")
    np.testing.assert_allclose(seen(page), ([33, 144, 141], [94, 201, 98]), atol=3)  # viridis at 0.5 and 0.75
    assert page.locator("#scale").is_visible()
    page.select_option("#compared", "mask")
    np.testing.assert_allclose(seen(page), ([33, 144, 141], LIGHT), atol=3)
    page.locator("#split").fill("10")
    np.testing.assert_allclose(seen(page), (DARK, LIGHT), atol=1)
    page.mouse.move(*place(page, 0.5, 3))
    page.mouse.down()
    page.mouse.move(*place(page, 9.4, 3), steps=4)
    page.mouse.up()
    np.testing.assert_allclose(seen(page), ([33, 144, 141], [94, 201, 98]), atol=3)
    page.keyboard.press("c")
    assert not page.locator("#split").is_visible()
    page.keyboard.press("1")
    assert not page.locator("#scale").is_visible()


def test_without_probabilities_there_is_no_confidence(page, monkeypatch):
    monkeypatch.setattr("segnet.serving.answers.MAX_PROBABILITIES", 0)
    shown(page)
    assert page.locator("input[value=confidence]").first.is_disabled()
    page.mouse.move(*place(page, 9, 5))
    assert page.locator("#pointed").inner_text() == "<b>light</b> at 9, 5"


def test_a_stroke_is_painted_erased_undone_and_repeated(page):
    shown(page)
    pick(page, "tool", "paint")
    page.select_option("#with", label="never")
    thin_brush(page)
    drag(page, (1, 2), (7, 2))
    expected = PREDICTED.copy()
    expected[2, 1:8] = 2
    np.testing.assert_array_equal(drawn(page), expected)
    assert legend(page) == ["<b>light</b> 45.0%", "dark 43.3%", "never 11.7%"]
    page.mouse.move(*place(page, 6, 2))
    pointed = page.locator("#pointed")
    assert pointed.inner_text() == "never, painted (predicted: <b>light</b> 75%) at 6, 2"
    pick(page, "tool", "erase")
    drag(page, (3, 2), (4, 2))
    erased = expected.copy()
    erased[2, 3:5] = 0
    np.testing.assert_array_equal(drawn(page), erased)
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(drawn(page), expected)
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(drawn(page), PREDICTED)
    assert page.locator("#undo").is_disabled()
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+Shift+z")
    np.testing.assert_array_equal(drawn(page), erased)
    assert page.locator("#redo").is_disabled()
    page.get_by_role("checkbox", name="Show only what I painted").check()
    np.testing.assert_array_equal(drawn(page), np.where(erased == 2, 2, -1))
    page.locator("#reset").click()
    page.get_by_role("checkbox", name="Show only what I painted").uncheck()
    np.testing.assert_array_equal(drawn(page), PREDICTED)
    page.locator("#undo").click()
    np.testing.assert_array_equal(drawn(page), erased)


def test_a_wide_brush_paints_a_disk_and_its_size_has_keys(page):
    side = 60
    shown(page, encoded(halves(side, side)))
    page.keyboard.press("b")
    page.select_option("#with", label="never")
    page.locator("#size").fill("70")
    page.keyboard.press("]")
    size = int(page.locator("#pixels").inner_text().split()[0])
    assert size == round(15**0.75)
    page.mouse.move(*place(page, 30, 20, (side, side)))
    page.mouse.down()
    page.mouse.up()
    y, x = np.mgrid[:side, :side]
    expected = np.where(np.hypot(x - 30, y - 20) <= size / 2, 2, x >= side // 2)
    np.testing.assert_array_equal(drawn(page), expected)
    drag(page, (30, 20, (side, side)), (45, 50, (side, side)))  # nothing is left out between two points
    along = np.clip(((x - 30) * 15 + (y - 20) * 30) / (15**2 + 30**2), 0, 1)
    inside = np.hypot(x - 30 - 15 * along, y - 20 - 30 * along) <= size / 2 - 1
    assert (drawn(page)[inside] == 2).all()


def test_a_region_is_filled(page):
    image = halves()
    image[0, 0] = image[5, 1] = 200  # two islands of light
    image[1:5, 3] = 200  # a wall in the dark half, open above and below
    shown(page, encoded(image))
    predicted = (image[:, :, 0] > 127).astype(int)
    np.testing.assert_array_equal(drawn(page), predicted)
    page.keyboard.press("f")
    page.select_option("#with", label="never")
    page.mouse.click(*place(page, 1, 2))
    assert page.locator("#pointed").inner_text() == "never, painted (predicted: dark 50%) at 1, 2"
    expected = np.where(predicted == 0, 2, predicted)
    np.testing.assert_array_equal(drawn(page), expected)
    page.select_option("#with", label="dark")
    page.mouse.click(*place(page, 0, 0))
    expected[0, 0] = 0
    np.testing.assert_array_equal(drawn(page), expected)
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    np.testing.assert_array_equal(drawn(page), predicted)


def test_the_keyboard_alone_can_paint(page):
    shown(page)
    page.keyboard.press("b")
    thin_brush(page)
    page.select_option("#with", label="ignored (no label)")
    page.locator("#frame").focus()
    for key in ("ArrowLeft", "ArrowUp", "Space", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    expected = PREDICTED.copy()
    expected[2, 4:6] = 255
    np.testing.assert_array_equal(drawn(page), expected)
    assert page.locator("#spoken").inner_text() == "ignored, painted (predicted: <b>light</b> 75%) at 5, 2"
    assert "ignored 3.3%" in legend(page)


def test_corrections_are_kept_while_another_image_is_shown(page):
    shown(page, name="first.png")
    page.keyboard.press("b")
    page.select_option("#with", label="never")
    thin_brush(page)
    drag(page, (0, 0), (9, 0))
    shown(page, encoded(halves(4, 8)), "second.png")
    assert drawn(page).shape == (4, 8)
    playwright.expect(page.locator("#images small")).to_have_text(["corrected", "segmented"])
    page.get_by_role("button", name="first.png corrected").click()
    playwright.expect(page.locator("#facts")).to_contain_text("first.png")
    assert (drawn(page)[0] == 2).all()
    page.locator("#reset").click()
    np.testing.assert_array_equal(drawn(page), PREDICTED)


def test_a_painted_class_becomes_visible_and_alt_takes_a_class(page):
    shown(page)
    page.get_by_role("button", name="Hide all").click()
    page.keyboard.down("Alt")
    page.mouse.click(*place(page, 9, 5))
    page.keyboard.up("Alt")
    assert page.locator("#with").input_value() == "1"
    page.keyboard.press("b")
    thin_brush(page)
    page.mouse.click(*place(page, 0, 0))
    np.testing.assert_array_equal(drawn(page)[0], [1, -1, -1, -1, -1, 1, 1, 1, 1, 1])
    assert page.get_by_role("checkbox", name="<b>light</b>").is_checked()


def test_zoom_keeps_the_pixel_under_the_pointer(page):
    shown(page, encoded(halves(60, 100)))
    size = (100, 60)
    x, y = place(page, 80, 50, size)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    assert page.locator("#zoomed").inner_text() == "739%"
    np.testing.assert_allclose(place(page, 80, 50, size), (x, y), atol=8)  # the event has whole pixels, enlarged by 7
    page.keyboard.press("b")
    page.select_option("#with", label="never")
    thin_brush(page)
    page.mouse.click(x, y)
    assert drawn(page)[50, 80] == 2
    page.keyboard.press("0")
    assert page.locator("#zoomed").inner_text() == "100%"


@pytest.mark.parametrize("num_classes", [3, 300])
def test_downloads_hold_the_corrections(page, server, tmp_path, num_classes):
    if num_classes == 300:
        server.predictor.classes = Classes.create([f"c{i}" for i in range(300)], voc_palette(300), 65535)
        page.reload()
        page.wait_for_selector("#classes li")
    classes, last = server.predictor.classes, num_classes - 1
    server.predictor.segment = lambda image, **options: Segmentation(image, mask.astype(kind), classes)
    mask, kind = PREDICTED, np.uint8 if num_classes == 3 else np.uint16
    shown(page)
    page.keyboard.press("b")
    thin_brush(page)
    expected = mask.copy()
    for row, label in enumerate((last, classes.ignore_index)):
        page.select_option("#with", str(label))
        drag(page, (2, row), (8, row))
        expected[row, 2:9] = label
    assert page.locator("#polygons").is_disabled()  # they would be those of the prediction
    page.get_by_label("Opacity of the classes").fill("100")
    for button in ("#mask", "#overlaid"):
        with page.expect_download() as download:
            page.locator(button).click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    saved = Image.open(tmp_path / "street_mask.png")
    assert saved.mode == ("P" if num_classes == 3 else "I;16")
    np.testing.assert_array_equal(np.array(saved), expected)
    if num_classes == 3:
        palette = np.array(saved.getpalette()).reshape(-1, 3)
        np.testing.assert_array_equal(palette[:3], CLASSES.palette)
    overlay = np.array(Image.open(tmp_path / "street_overlay.png"))
    np.testing.assert_array_equal(overlay[2, 0, :3], classes.palette[0])
    np.testing.assert_array_equal(overlay[0, 5, :3], classes.palette[last])


def test_only_painted_pixels_are_saved_unless_the_user_says_so(page, collected):
    shown(page)
    assert page.locator("#save").is_disabled()  # nothing is painted
    page.keyboard.press("b")
    thin_brush(page)
    page.select_option("#with", label="never")
    drag(page, (1, 1), (3, 1))
    page.select_option("#with", label="ignored (no label)")
    drag(page, (6, 1), (8, 1))
    playwright.expect(page.locator("#saved")).to_contain_text("5.0% of the pixels are labeled")
    page.keyboard.press("s")
    playwright.expect(page.locator("#saved")).to_have_text("Saved as street.")
    playwright.expect(page.locator("#images small")).to_have_text(["saved"])
    expected = np.full((6, 10), 255)
    expected[1, 1:4] = 2
    np.testing.assert_array_equal(np.array(Image.open(collected / "masks/street.png")), expected)
    assert (collected / "images/street.png").read_bytes() == encoded(halves())

    page.get_by_role("radio", name="saved as predicted").check()
    page.locator("#save").click()
    playwright.expect(page.locator("#saved")).to_have_text("Saved as street.")
    expected = PREDICTED.copy()
    expected[1, 1:4], expected[1, 6:9] = 2, 255
    np.testing.assert_array_equal(np.array(Image.open(collected / "masks/street.png")), expected)
    playwright.expect(page.locator("#collected")).to_have_text("1 mask in the folder")

    page.reload()  # the page has forgotten that the image is saved
    page.wait_for_selector("#classes li")
    shown(page)
    page.get_by_role("radio", name="saved as predicted").check()
    page.locator("#save").click()
    playwright.expect(page.get_by_role("alert")).to_contain_text("street.png: is in the folder already, as street.")
    np.testing.assert_array_equal(np.array(Image.open(collected / "masks/street.png")), expected)
    page.get_by_role("button", name="Replace its mask").click()
    playwright.expect(page.locator("#saved")).to_have_text("Saved as street.")
    np.testing.assert_array_equal(np.array(Image.open(collected / "masks/street.png")), PREDICTED)
