"""POST /predict with thresholds, refusal and smallest regions; a request replaces single options of the server."""

import io

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
import torch
from color_model import CLASSES, blotches, install, probabilities_of
from PIL import Image
from served import Server, encoded

from segnet.inference.predictor import Predictor
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner


@pytest.fixture
def server(monkeypatch):
    install(monkeypatch)
    return Server(Predictor("best.ckpt", refinement=Refinement(refuse=0.6, min_area=12)))


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {"refuse": 0.6, "min_area": 12}),
        ("&refuse=0", {"min_area": 12}),
        ("&min_area=0&threshold=blue=0.3&threshold=red%3D0.8", {"refuse": 0.6, "threshold": "blue=0.3,red=0.8"}),
    ],
)
def test_the_answer_is_the_mask_of_these_options(server, query, options):
    answer = server.predict(encoded(blotches()), f"?output=mask{query}")
    assert answer.status_code == 200
    probabilities = torch.tensor(probabilities_of(blotches()), dtype=torch.float32)
    expected = Refiner(Refinement.read(**options), CLASSES).mask(probabilities)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(answer.content))), expected)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?threshold=bleu=0.3", "threshold: 'bleu' is no class of this model. Did you mean 'blue'"),
        ("?refuse=7", "refuse=7 must be a probability, 0-1"),
        ("?refuse=0.1&refuse=0.2", "refuse=0.1,0.2 must be a number"),
    ],
)
def test_a_wrong_value_is_a_bad_request_of_one_line(server, query, message):
    answer = server.predict(encoded(blotches()), query)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(message)
