"""The page in a headless browser, as a local file: its masks are those of the checkpoint, and nothing leaves it."""

import io
import shutil

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="needs pip install playwright, and a Chromium")
from exports import CLASSES
from PIL import Image, ImageOps
from web_runtime import installed

from segnet.exporters import web
from segnet.inference.predictor import Predictor
from segnet.workflows import export_web
from segnet.workflows.export import export

# A float32 sum in another order changes the class of a pixel at most where two classes are equally probable.
MOST_DIFFERENT = 0.001
SIZE = (83, 61)


def photo():
    values = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    return Image.fromarray(values).resize(SIZE, Image.Resampling.BICUBIC)


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def exported(exports, tmp_path_factory):
    """The page of the tiny model; images above 20,000 pixels are cut into windows of 96."""
    pytest.importorskip("onnxruntime")
    runtime = installed()
    onnx = exports.get("onnx")
    path = tmp_path_factory.mktemp("page") / "tiny.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_web, "MAX_PIXELS", 20_000)
        patch.setattr(export_web, "DEFAULT_WINDOW", 96)
        patch.setattr(export_web, "find_node", lambda: None)  # test_node.py
        patch.setattr(export_web, "EXPORTERS", {"onnx": lambda model, metadata, path: shutil.copy(onnx, path)})
        export(exports.checkpoint, "web", path, "logits", lambda _: None, web_runtime=str(runtime))
    return path


@pytest.fixture(scope="module")
def predictor(exports):
    return Predictor(exports.checkpoint, "cpu", runtime="torch", window=96, max_pixels=20_000)


@pytest.fixture(scope="module")
def opened(browser, exported):
    """The opened page, before an image; requests, script errors and violations of its policy are noted."""
    opened = browser.new_page()
    opened.wrong = []
    opened.on("request", lambda it: it.url.startswith(("file:", "blob:", "data:")) or opened.wrong.append(it.url))
    opened.on("pageerror", lambda error: opened.wrong.append(str(error)))
    opened.on("console", lambda line: "Security" in line.text and opened.wrong.append(line.text))
    opened.set_default_timeout(120_000)
    opened.goto(exported.as_uri())
    opened.wait_for_selector("body:not(.busy)")
    assert "WebAssembly" in opened.inner_text("#state")
    assert opened.locator("#classes li").all_inner_texts() == list(CLASSES.names)
    assert opened.locator("#mask").is_disabled()
    yield opened
    opened.close()


@pytest.fixture
def page(opened):
    yield opened
    assert opened.wrong == []


def choose(page, content, name="street.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    page.wait_for_selector("body:not(.busy)")


def downloaded(page):
    with page.expect_download() as download:
        page.click("#mask")
    return download.value.suggested_filename, Image.open(download.value.path())


def assert_same_mask(mask, expected):
    assert mask.shape == expected.shape
    assert len(np.unique(expected)) > 1
    assert (mask != expected).mean() <= MOST_DIFFERENT


def test_an_image_gets_the_mask_of_the_checkpoint(page, predictor):
    choose(page, encoded(photo()))
    expected = predictor(photo()).mask
    name, mask = downloaded(page)
    assert name == "street_mask.png"
    assert_same_mask(np.asarray(mask), expected)
    assert mask.getpalette()[: 3 * len(CLASSES.names)] == [value for color in CLASSES.palette for value in color]
    assert f"street.png · {SIZE[0]} × {SIZE[1]}" in page.inner_text("#facts")
    first = page.locator("#classes li").first.inner_text().split()
    assert first[0] == CLASSES.names[np.bincount(expected.ravel()).argmax()]
    assert abs(float(first[1].rstrip("%")) / 100 - np.bincount(expected.ravel()).max() / expected.size) < 0.001
    assert page.inner_text("#note") == ""


def test_a_large_image_is_segmented_in_windows_like_a_prediction(page, predictor):
    image = photo().resize((190, 140), Image.Resampling.BICUBIC)
    choose(page, encoded(image))
    assert_same_mask(np.asarray(downloaded(page)[1]), predictor(image).mask)


def test_the_newest_of_several_images_is_shown(page, predictor):
    large = encoded(photo().resize((400, 300)))
    for content, name in ((large, "large.png"), (encoded(photo()), "small.png")):
        page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": content})
    page.wait_for_selector("#facts:has-text('small.png')")
    page.wait_for_selector("body:not(.busy)")
    name, mask = downloaded(page)
    assert name == "small_mask.png"
    assert_same_mask(np.asarray(mask), predictor(photo()).mask)


def test_a_rotated_jpeg_is_upright(page, predictor):
    exif = Image.Exif()
    exif[274] = 6
    content = encoded(photo(), "JPEG", quality=95, exif=exif)
    choose(page, content, "street.jpg")
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert upright.size == SIZE[::-1]
    assert_same_mask(np.asarray(downloaded(page)[1]), predictor(upright).mask)


def test_the_overlay_has_the_colors_of_the_classes_and_an_opacity(page, predictor):
    choose(page, encoded(photo()))
    expected = predictor(photo()).mask
    y, x = 30, 40
    color = page.evaluate(
        "([x, y]) => [...document.querySelector('#overlay').getContext('2d').getImageData(x, y, 1, 1).data]", [x, y]
    )
    assert color == [*CLASSES.palette[expected[y, x]], 255]
    page.locator("#opacity").fill("20")
    assert page.evaluate("() => document.querySelector('#overlay').style.opacity") == "0.2"
    box = page.locator("#frame").bounding_box()
    page.mouse.move(box["x"] + box["width"] * (x + 0.5) / SIZE[0], box["y"] + box["height"] * (y + 0.5) / SIZE[1])
    assert page.inner_text("#pointed") == f"{CLASSES.names[expected[y, x]]} at {x}, {y}"


def test_what_a_browser_reads_otherwise_is_said(page):
    transparent = photo().convert("RGBA")
    transparent.putpixel((3, 3), (10, 20, 30, 0))
    choose(page, encoded(transparent))
    assert "Transparent pixels" in page.inner_text("#note")
    choose(page, encoded(Image.fromarray(np.full((9, 9), 40_000, np.uint16))))
    assert "16-bit" in page.inner_text("#note")
    choose(page, b"no image", "notes.txt")
    assert page.inner_text("#error").startswith("notes.txt: this browser cannot read it as an image")
    assert downloaded(page)[1].size == (9, 9)  # the image before is still shown
    choose(page, encoded(photo()))
    assert not page.locator("#error").is_visible()


@pytest.mark.parametrize(
    ("damage", "message"), [("example", "computes other results"), ("cut", "damaged or incomplete")]
)
def test_a_page_that_cannot_be_trusted_does_not_segment(browser, exported, tmp_path, damage, message):
    text = exported.read_text(encoding="utf-8")
    if damage == "cut":
        text = text[: text.index('data-file="model"') + 200_000]
    else:
        start = text.index('<script type="text/plain" data-file="example">')
        end = text.index("</script>\n", start) + len("</script>\n")
        planes = web.embedded_files(exported)["example"][: 3 * 128 * 192]
        all_of_one_class = bytes(2 * 128 * 192)
        text = text[:start] + "".join(web._parts("example", planes + all_of_one_class)) + text[end:]
    path = tmp_path / "damaged.html"
    path.write_text(text, encoding="utf-8", newline="\n")
    page = browser.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("#error:not([hidden])", timeout=120_000)
    assert message in page.inner_text("#error")
    assert page.inner_text("#state") == "The model cannot be used"
    page.close()
