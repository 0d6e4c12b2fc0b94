"""Actions on the page of `segnet serve`, and what it shows."""

import io

import numpy as np
from PIL import Image
from served import CLASSES, encoded, halves

PREDICTED = np.array([[0] * 5 + [1] * 5] * 6)  # of `halves()`: the left half is dark, the right one <b>light</b>


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


def pick(page, name, value):
    page.locator(f"label:has(input[name={name}][value={value}])").click()


def place(page, x, y, size=(10, 6)):
    """The place of a pixel's middle on the screen."""
    box = page.locator("#frame").bounding_box()
    return box["x"] + box["width"] * (x + 0.5) / size[0], box["y"] + box["height"] * (y + 0.5) / size[1]


def drag(page, *pixels):
    page.mouse.move(*place(page, *pixels[0]))
    page.mouse.down()
    for pixel in pixels[1:]:
        page.mouse.move(*place(page, *pixel), steps=3)
    page.mouse.up()


def thin_brush(page):
    page.locator("#size").fill("0")
    assert page.locator("#pixels").inner_text() == "1 px"


def drawn(page):
    """The class ids on the overlay; -1 where nothing is drawn, 255 for the checkerboard of ignored pixels."""
    ids = {(*color, 255): index for index, color in enumerate(CLASSES.palette)}
    ids |= {(255, 255, 255, 255): 255, (64, 64, 64, 255): 255, (0, 0, 0, 0): -1}
    return np.array([[ids[tuple(map(int, color))] for color in row] for row in canvas(page)])
