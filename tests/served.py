"""The server's application without a network, and a fake predictor with known, delayable results."""

import asyncio
import io
import json
import struct
import tempfile
import threading
import zlib
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.inference.refinement import Refinement
from segnet.inference.segmentation import Segmentation
from segnet.serving.app import STATIC, Limits, create_app
from segnet.serving.collection import Collection, require_writable
from segnet.serving.jobs import JobQueue

CLASSES = Classes.create(["dark", "<b>light</b>", "never"], [[20, 40, 60], [240, 200, 10], [1, 2, 3]])
SCHEMA = json.loads((STATIC / "openapi.json").read_text(encoding="utf-8"))
PNG = {"Content-Type": "image/png"}


class Threshold:
    """A predictor that returns class 1 for pixels with a first channel above 127, else 0.

    Attributes:
        gate: while closed, predictions start but do not end.
        num_calls: number of started predictions.
        refinements: of each started prediction.
        most: largest number of concurrent predictions.
    """

    def __init__(self, channels=3):
        self.classes, self.channels, self.value_range = CLASSES, channels, None
        self.refinement, self.refinements = Refinement(), []
        self.gate, self.began = threading.Event(), threading.Semaphore(0)
        self.gate.set()
        self.num_calls = self.most = self._running = 0

    def segment(self, image, probabilities=False, refinement=None):
        self.num_calls += 1
        self.refinements.append(refinement)
        self._running += 1
        self.most = max(self.most, self._running)
        self.began.release()
        assert self.gate.wait(60)
        self._running -= 1
        mask = (image[:, :, 0] > 127).astype(np.uint8)
        sure = np.where(mask == 1, 0.75, 0.5)  # 191 and 128 of 255
        scores = np.stack([np.where(mask == index, sure, (1 - sure) / 2) for index in range(3)])
        return Segmentation(image, mask, self.classes, scores.astype(np.float16) if probabilities else None)


SEVERAL = Classes.create(["red", "green", "both"], [[240, 0, 0], [0, 200, 0], [0, 0, 90]], 255, "multilabel", [0.5] * 3)


class Overlapping(Threshold):
    """A predictor of several classes per pixel: red and green where the channel is bright, and both where both are."""

    def __init__(self):
        super().__init__()
        self.classes = SEVERAL

    def segment(self, image, probabilities=False, refinement=None):
        self.refinements.append(refinement)
        bright = image[:, :, :2] > 127
        planes = np.stack([bright[:, :, 0], bright[:, :, 1], bright.all(axis=2)]).astype(np.uint8)
        scores = np.where(planes == 1, [[[0.75]], [[0.875]], [[0.625]]], 0.25)
        return Segmentation(image, planes, SEVERAL, scores.astype(np.float16) if probabilities else None)


class Server:
    """The application with a predictor, and requests to it: sequential, or concurrent in one event loop."""

    def __init__(self, predictor=None, allow_hosts=(), collect=None, **limits):
        self.predictor = predictor or Threshold()
        limits = Limits(**limits)
        self._folder = tempfile.TemporaryDirectory()
        self.uploads = Path(self._folder.name)
        self.queue = JobQueue(limits.waiting)
        self.collection = None
        if collect:
            require_writable(collect)
            self.collection = Collection(collect, self.predictor.classes, self.predictor.channels)
        self.app = create_app(
            self.predictor, "run/best.ckpt", limits, self.queue, self.uploads, allow_hosts, self.collection
        )

    def client(self):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", timeout=60)

    def request(self, method, path, **options):
        async def one():
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(one())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def predict(self, content, query="", headers=PNG):
        return self.request("POST", f"/predict{query}", content=content, headers=headers)

    def collect(self, image, mask, name="street.png", headers=PNG, **options):
        query = {"image_bytes": len(image), "name": name, **options}
        return self.request("POST", "/collect", params=query, content=image + mask, headers=headers)


def halves(height=6, width=10):
    """An image with a dark left half: (H, W, 3) uint8 RGB."""
    image = np.zeros((height, width, 3), np.uint8)
    image[:, width // 2 :] = 200
    return image


def encoded(image, file_format="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, file_format, **options)
    return buffer.getvalue()


def error_of(response, status):
    """The error message of a response."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert "\n" not in response.json()["error"]
    return response.json()["error"]


def bomb(side):
    """A PNG with a header of side x side pixels and no data."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def check_schema(name, value):
    jsonschema = pytest.importorskip("jsonschema")
    # References such as #/components/... are resolved within this document.
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/components/schemas/{name}"}).validate(value)
