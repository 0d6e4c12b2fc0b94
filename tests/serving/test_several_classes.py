"""Requests to a model of several classes per pixel; answers are validated against the OpenAPI schema."""

import io

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from PIL import Image, ImageSequence
from served import SEVERAL, Overlapping, Server, check_schema, encoded, error_of

from segnet.inference.refinement import Refinement

IMAGE = np.zeros((4, 6, 3), np.uint8)
IMAGE[:, :3, 0], IMAGE[1:3, :, 1] = 200, 200


def test_every_output_is_returned():
    server = Server(Overlapping())
    for query in ("", "?image=true&confidence=true"):
        found = server.predict(encoded(IMAGE), query).json()
        check_schema("Segmentation", found)
        assert [entry["share"] for entry in found["classes"]] == [0.5, 0.5, 0.25]
    answer = server.predict(encoded(IMAGE), "?output=mask")
    assert answer.headers["content-type"] == "image/tiff"
    pages = [np.array(page) for page in ImageSequence.Iterator(Image.open(io.BytesIO(answer.content)))]
    assert [page.mean() / 255 for page in pages] == [0.5, 0.5, 0.25]
    for output in ("overlay", "confidence"):
        answer = server.predict(encoded(IMAGE), f"?output={output}")
        assert Image.open(io.BytesIO(answer.content)).size == (6, 4)
    regions = server.predict(encoded(IMAGE), "?output=polygons").json()["features"]
    assert {one["properties"]["class"]: one["properties"]["area"] for one in regions} == {
        "red": 12,
        "green": 12,
        "both": 6,
    }


def test_the_model_tells_its_task_and_the_thresholds_in_force():
    server = Server(Overlapping())
    server.predictor.refinement = Refinement(threshold={"green": 0.25})
    found = server.get("/model").json()
    check_schema("Model", found)
    assert found["task"] == "multilabel"
    assert found["refinement"] == {"threshold": {"red": 0.5, "green": 0.25, "both": 0.5}}
    assert [entry["name"] for entry in found["classes"]] == list(SEVERAL.names)
    assert server.get("/model").json()["classes"][0] == {"id": 0, "name": "red", "color": [240, 0, 0]}
    assert Server().get("/model").json()["task"] == "multiclass"


def test_thresholds_reach_the_predictor_and_options_of_one_class_are_refused(several):
    from segnet.inference.predictor import Predictor

    server = Server(Predictor(several[0] / "best.ckpt", "cpu", runtime="torch"))
    none = server.predict(encoded(IMAGE), "?threshold=disk=1,ring=1").json()
    assert [entry["share"] for entry in none["classes"]] == [0, 0]
    every = server.predict(encoded(IMAGE), "?threshold=disk=0.0001,ring=0.0001").json()
    assert [entry["share"] for entry in every["classes"]] == [1, 1]
    for option in ("refuse=0.7", "min_area=5"):
        message = error_of(server.predict(encoded(IMAGE), f"?{option}"), 400)
        assert message.startswith(f"{option.split('=')[0]} needs one class per pixel")
