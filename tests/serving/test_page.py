"""The web page in a headless browser: user actions and their visible results."""

import io
import json
import shutil
import socket
import threading

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
import uvicorn
from PIL import Image
from playwright import sync_api as playwright
from served import CLASSES, Server, encoded, halves

from segnet.classes import Classes, voc_palette
from segnet.inference.segmentation import Segmentation

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--force-color-profile=srgb"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
DARK, LIGHT = CLASSES.palette[:2]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def server():
    """The application on a local port, with `url` and `stop()`."""
    server = Server(max_bytes=100_000)
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    running = uvicorn.Server(uvicorn.Config(server.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()

    def stop():
        server.predictor.gate.set()
        running.should_exit = True
        thread.join(60)

    server.stop = stop
    yield server
    stop()


@pytest.fixture
def page(browser, server):
    """The opened page; requests to other servers and script errors are failures."""
    context = browser.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.wrong = []
    page.on(
        "request",
        lambda request: request.url.startswith((server.url, "blob:", "data:")) or page.wrong.append(request.url),
    )
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("console", lambda line: "Security" in line.text and page.wrong.append(line.text))
    page.goto(server.url)
    page.wait_for_selector("#classes li")
    yield page
    assert page.wrong == []
    context.close()


def choose(page, content=None, name="street.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content or encoded(halves())})


def shown(page, content=None, name="street.png"):
    choose(page, content, name)
    page.wait_for_function("name => document.querySelector('#facts').textContent.startsWith(name)", arg=name)


def canvas(page):
    """The overlay as (H, W, 4), without opacity."""
    size, values = page.evaluate(
        """() => {
            const canvas = document.querySelector("#overlay");
            const context = canvas.getContext("2d");
            return [[canvas.height, canvas.width], [...context.getImageData(0, 0, canvas.width, canvas.height).data]];
        }"""
    )
    return np.array(values, np.uint8).reshape(*size, 4)


def seen(page):
    """The colors in the middle of the left and of the right half, as displayed."""
    image = np.array(Image.open(io.BytesIO(page.locator("#frame").screenshot())).convert("RGB")).astype(int)
    middle = image.shape[0] // 2
    return image[middle, image.shape[1] // 4], image[middle, image.shape[1] * 3 // 4]


def legend(page):
    return [" ".join(text.split()) for text in page.locator("#classes li").all_inner_texts()]


def test_a_chosen_image_is_shown_with_its_overlay(page):
    assert page.locator("#model").inner_text() == "run/best.ckpt · 3 classes"
    assert legend(page) == ["dark", "<b>light</b>", "never"]
    assert page.locator("#mask").is_disabled()
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
    for button, name in (("Mask", "my.street_mask.png"), ("Polygons", "my.street.geojson")):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
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
    playwright.expect(alert).to_have_text("The server does not answer: is 'segnet serve' still running?")


def test_a_newer_image_replaces_the_request_in_progress(page, server):
    server.predictor.gate.clear()
    choose(page, name="first.png")
    playwright.expect(page.get_by_role("status")).to_have_text("Segmenting first.png …")
    assert server.predictor.began.acquire(timeout=60)
    choose(page, encoded(halves(4, 8)), "second.png")
    playwright.expect(page.get_by_role("status")).to_have_text("Segmenting second.png …")
    server.predictor.gate.set()
    page.wait_for_selector("body.shown")
    assert "second.png · 8 × 4" in page.locator("#facts").inner_text()
    playwright.expect(page.get_by_role("status")).to_have_text("")
    assert not page.get_by_role("alert").is_visible()


def test_the_class_under_the_pointer_is_reported(page):
    shown(page)
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.99, box["y"] + box["height"] * 0.99)
    assert page.locator("#pointed").inner_text() == "<b>light</b> at 9, 5"


def test_all_controls_are_reachable_by_keyboard(page):
    shown(page)
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.type || document.activeElement.tagName")
        )
    wanted = ["file", "opacity", "all", "none", "checkbox", "checkbox", "checkbox", "mask", "polygons", "A"]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted


@pytest.mark.parametrize("size", [(360, 640), (820, 1100), (1366, 768)])
def test_the_page_does_not_overflow_horizontally(page, size):
    page.set_viewport_size({"width": size[0], "height": size[1]})
    shown(page, encoded(halves(20, 300)), "a_name_" * 12 + ".png")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    box = page.locator("#frame").bounding_box()
    assert box["width"] / box["height"] == pytest.approx(15, rel=0.05)


@pytest.mark.parametrize("num_classes", [3, 256, 300])
def test_the_page_reads_class_ids_of_one_and_two_bytes(page, server, num_classes):
    ids = np.arange(num_classes - 4, num_classes).reshape(2, 2)
    mask = ids.clip(0).astype(np.uint8 if num_classes <= 256 else np.uint16)
    classes = Classes.create([f"c{i}" for i in range(num_classes)], voc_palette(num_classes), 65535)
    server.predictor.segment = lambda image: Segmentation(image, mask, classes)
    shown(page, encoded(halves(2, 2)))
    frame = page.locator("#frame").bounding_box()
    for (y, x), index in np.ndenumerate(mask):
        page.mouse.move(frame["x"] + frame["width"] * (x + 0.5) / 2, frame["y"] + frame["height"] * (y + 0.5) / 2)
        assert page.locator("#pointed").inner_text() == f"c{index} at {x}, {y}"
        assert canvas(page)[y, x].tolist() == [*classes.palette[index], 255]
