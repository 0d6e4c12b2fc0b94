"""The web page in a headless browser: user actions and their visible results."""

import json

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
from browsing import canvas, choose, legend, seen, shown
from PIL import Image
from playwright import sync_api as playwright
from served import CLASSES, encoded, halves

from segnet.classes import Classes, voc_palette
from segnet.errors import MachineError
from segnet.inference.segmentation import Segmentation
from segnet.serving.jobs import QueueFullError

DARK, LIGHT = CLASSES.palette[:2]


def test_a_chosen_image_is_shown_with_its_overlay(page):
    assert page.locator("#model").inner_text() == "run/best.ckpt · 3 classes"
    assert legend(page) == ["dark", "<b>light</b>", "never"]
    assert page.locator("#mask").is_disabled()
    assert not page.locator("#saving").is_visible()
    shown(page)
    drawn = canvas(page)
    assert drawn.shape == (6, 10, 4)
    assert (drawn[:, :5] == [*DARK, 255]).all()
    assert (drawn[:, 5:] == [*LIGHT, 255]).all()
    assert legend(page) == ["dark 50.0%", "<b>light</b> 50.0%", "never 0.0%"]
    assert "street.png · 10 × 6" in page.locator("#facts").inner_text()
    assert page.locator("#overlay").get_attribute("aria-label") == "Classes shown: dark, <b>light</b>"
    assert not page.locator("#drop").is_visible()


def test_classes_are_toggled_individually_and_all_at_once(page):
    shown(page)
    page.get_by_role("checkbox", name="<b>light</b>").uncheck()
    assert (canvas(page)[:, 5:, 3] == 0).all()
    assert (canvas(page)[:, :5] == [*DARK, 255]).all()
    page.get_by_role("button", name="Hide all").click()
    assert (canvas(page)[:, :, 3] == 0).all()
    assert page.locator("#overlay").get_attribute("aria-label") == "Classes shown: none"
    page.get_by_role("checkbox", name="dark").check()
    shown(page, encoded(halves(4, 8)), "next.png")  # hidden classes stay hidden
    assert (canvas(page)[:, :4, 3] == 255).all()
    assert (canvas(page)[:, 4:, 3] == 0).all()
    page.get_by_role("button", name="Show all").click()
    assert (canvas(page)[:, :, 3] == 255).all()


def test_the_opacity_slider_works_with_the_keyboard(page):
    shown(page)
    slider = page.get_by_label("Opacity of the classes")
    slider.press("Home")
    left, right = seen(page)
    np.testing.assert_allclose((left, right), ([0] * 3, [200] * 3), atol=8)  # JPEG artifacts
    slider.press("End")
    assert page.locator("#percent").inner_text() == "100%"
    np.testing.assert_allclose(seen(page), (DARK, LIGHT), atol=1)
    slider.fill("50")
    np.testing.assert_allclose(seen(page), ([10, 20, 30], [220, 200, 105]), atol=8)


def test_downloads_are_named_after_the_image(page, server, tmp_path):
    shown(page, name="my.street.png")
    page.get_by_role("button", name="Hide all").click()  # affects neither download
    for button, name in (("#mask", "my.street_mask.png"), ("#polygons", "my.street.geojson")):
        with page.expect_download() as download:
            page.locator(button).click()
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    mask = Image.open(tmp_path / "my.street_mask.png")
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.array(mask), halves()[:, :, 0] > 127)
    polygons = json.loads((tmp_path / "my.street.geojson").read_text())
    assert {(f["properties"]["class"], f["properties"]["area"]) for f in polygons["features"]} == {
        ("dark", 30),
        ("<b>light</b>", 30),
    }
    page.wait_for_function("!document.querySelector('#polygons').disabled")


@pytest.mark.parametrize("how", ["drop", "paste"])
def test_an_image_can_be_dropped_and_pasted(page, how):
    page.evaluate(
        """([how, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "dropped.png", { type: "image/png" }));
            const options = { bubbles: true, cancelable: true };
            const event = how === "drop" ? new DragEvent("drop", { ...options, dataTransfer: data })
                : new ClipboardEvent("paste", { ...options, clipboardData: data });
            document.body.dispatchEvent(event);
        }""",
        [how, list(encoded(halves()))],
    )
    page.wait_for_selector("body.shown")
    assert legend(page)[:2] == ["dark 50.0%", "<b>light</b> 50.0%"]


def test_a_drop_without_a_file_is_reported(page):
    page.evaluate(
        "document.body.dispatchEvent(new DragEvent('drop', {bubbles: true, dataTransfer: new DataTransfer()}))"
    )
    assert "save the image first" in page.get_by_role("alert").inner_text()


def test_errors_name_the_file_and_keep_the_shown_image(page, server):
    shown(page)
    choose(page, b"hello", "notes.txt")
    alert = page.get_by_role("alert")
    playwright.expect(alert).to_contain_text("notes.txt: is not an image in one of these formats: JPEG, PNG")
    assert "street.png" in page.locator("#facts").inner_text()
    choose(page, b"x" * 100_001, "large.bin")
    playwright.expect(alert).to_have_text("large.bin: has 0.1 MB, more than 0.1: scale it down")
    shown(page, name="again.png")
    assert not alert.is_visible()
    server.stop()
    choose(page)
    playwright.expect(alert).to_contain_text("The server does not answer: is 'segnet serve' still running?")


def test_images_are_segmented_one_after_another_the_newest_choice_first(page, server):
    server.predictor.gate.clear()
    many = [("first.png", (6, 10)), ("second.png", (4, 8)), ("third.png", (2, 4))]
    files = [{"name": name, "mimeType": "image/png", "buffer": encoded(halves(*size))} for name, size in many]
    page.set_input_files("#file", files)
    playwright.expect(page.locator("#status")).to_have_text("Segmenting first.png … 2 more")
    assert server.predictor.began.acquire(timeout=60)
    choose(page, encoded(halves(8, 12)), "newest.png")
    playwright.expect(page.locator("#images small")).to_have_text(["segmenting", "waiting", "waiting", "waiting"])
    assert server.queue.num_taken == 1
    server.predictor.gate.set()
    playwright.expect(page.locator("#images small")).to_have_text(["segmented"] * 4)
    playwright.expect(page.locator("#facts")).to_contain_text("newest.png · 12 × 8")
    playwright.expect(page.locator("#status")).to_have_text("")
    assert page.locator("#images [aria-current=true]").inner_text().startswith("newest.png")
    assert server.predictor.most == 1
    page.keyboard.press("p")
    playwright.expect(page.locator("#facts")).to_contain_text("third.png · 4 × 2")
    page.get_by_role("button", name="Remove third.png").click()
    playwright.expect(page.locator("#facts")).to_contain_text("first.png · 10 × 6")
    playwright.expect(page.locator("#images li")).to_have_count(3)
    assert not page.get_by_role("alert").is_visible()


def test_a_full_queue_is_waited_for(page, server):
    refusals = [QueueFullError(1)]

    def require_place():
        if refusals:
            raise refusals.pop()

    server.queue.require_place = require_place
    shown(page)
    assert refusals == []
    assert not page.get_by_role("alert").is_visible()


def test_a_failed_image_keeps_its_place_and_can_be_tried_again(page, server):
    right = server.predictor.segment

    def fail(image, **options):
        server.predictor.segment = right
        raise MachineError("GPU out of memory")

    server.predictor.segment = fail
    choose(page)
    playwright.expect(page.locator("#images small")).to_have_text(["failed"])
    playwright.expect(page.get_by_role("alert")).to_contain_text("GPU out of memory")
    page.get_by_role("button", name="Try again").click()
    playwright.expect(page.locator("#facts")).to_contain_text("street.png")
    playwright.expect(page.locator("#images small")).to_have_text(["segmented"])
    choose(page, b"hello", "notes.txt")
    playwright.expect(page.get_by_role("alert")).to_contain_text("notes.txt")
    assert not page.get_by_role("button", name="Try again").is_visible()


def test_the_class_under_the_pointer_is_reported(page):
    shown(page)
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + box["height"] * 0.99)
    assert page.locator("#pointed").inner_text() == "<b>light</b> 75% at 9, 5"


def test_all_controls_are_reachable_by_keyboard(page):
    shown(page)
    reached = []
    for _ in range(23):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.type || document.activeElement.tagName")
        )
    wanted = ["file", "radio", "compared", "in", "frame", "opacity", "all", "none", *["checkbox"] * 3, "only"]
    wanted += ["SUMMARY", "mask", "overlaid", "polygons", "A"]
    assert set(reached) >= set(wanted)
    order = [reached.index(name) for name in wanted]
    assert order == sorted(order)


@pytest.mark.parametrize("size", [(360, 640), (820, 1100), (1366, 768)])
def test_the_page_does_not_overflow_horizontally(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    shown(page, encoded(halves(20, 300)), "a_name_" * 12 + ".png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box = page.locator("#frame").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(15, rel=0.05)


def test_the_page_stays_at_its_top_while_the_list_follows_the_image(page):
    page.set_viewport_size({"width": 820, "height": 500})
    names = [f"{number}.png" for number in range(9)]
    page.set_input_files(
        "#file", [{"name": one, "mimeType": "image/png", "buffer": encoded(halves())} for one in names]
    )
    playwright.expect(page.locator("#images small")).to_have_text(["segmented"] * 9)
    assert page.evaluate("document.documentElement.scrollHeight") > 500
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.querySelector('#images').scrollLeft") == 0
    for _ in range(8):
        page.keyboard.press("n")
    playwright.expect(page.locator("#facts")).to_contain_text("8.png")
    assert page.evaluate("document.querySelector('#images').scrollLeft") > 0
    assert page.evaluate("scrollY") == 0


@pytest.mark.parametrize("num_classes", [3, 256, 300])
def test_the_page_reads_class_ids_of_one_and_two_bytes(page, server, num_classes):
    ids = np.arange(num_classes - 4, num_classes).reshape(2, 2)
    mask = ids.clip(0).astype(np.uint8 if num_classes <= 256 else np.uint16)
    classes = Classes.create([f"c{i}" for i in range(num_classes)], voc_palette(num_classes), 65535)
    server.predictor.classes = classes
    server.predictor.segment = lambda image, **options: Segmentation(image, mask, classes)
    page.reload()
    page.wait_for_selector("#classes li")
    shown(page, encoded(halves(2, 2)))
    frame = page.locator("#frame").bounding_box()
    for (y, x), index in np.ndenumerate(mask):
        page.mouse.move(frame["x"] + frame["width"] * (x + 0.5) / 2, frame["y"] + frame["height"] * (y + 0.5) / 2)
        assert page.locator("#pointed").inner_text() == f"c{index} at {x}, {y}"
        assert canvas(page)[y, x].tolist() == [*classes.palette[index], 255]
