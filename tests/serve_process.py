"""`segnet serve` in a subprocess, and requests to it."""

import importlib.util
import io
import urllib.error
import urllib.request

import numpy as np
import pytest
from PIL import Image

needs_extra = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("starlette", "uvicorn"))), reason='needs pip install "segnet[serve]"'
)


def ask(url, content=None):
    """(status, body, headers); OSError if the server has ended."""
    request = urllib.request.Request(url, content, {"Content-Type": "image/png"} if content else {})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def noise(height, width, seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return image, encoded(image)


def encoded(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
