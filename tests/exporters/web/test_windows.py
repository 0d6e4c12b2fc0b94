"""The page's windows, run in Node.js, are those of segnet.images.windows, and its masks those of a prediction."""

import json
import subprocess

import numpy as np
import pytest
import torch

from segnet.exporters.web import OWN
from segnet.exporters.web.node import find_node
from segnet.images.windows import Mosaic
from segnet.inference import tta
from segnet.inference.tta import Inference, argmax_classes

NODE = find_node()
pytestmark = pytest.mark.skipif(NODE is None, reason="needs Node.js")
SIZES = [
    (10, 10, 4, 0.25),
    (9, 31, 4, 0.3),
    (7, 64, 5, 0.25),
    (33, 5, 8, 0.9),
    (5, 6, 8, 0.25),
]  # also more than a strip

MOSAIC = """
const found = [];
for (const [height, width, side, overlap] of sizes) {
  const rows = new Side(height, side, overlap), columns = new Side(width, side, overlap);
  found.push([...mosaic(rows, columns)].map(({ row, column, pieces }) => [
    rows.starts[row], columns.starts[column],
    [...rows.weights(row)], [...columns.weights(column)],
    pieces.map(({ top, left, bottom, right, shared, complete }) => [top, left, bottom, right, shared, complete]),
  ]));
}
console.log(JSON.stringify(found));
"""
# Logits that differ between windows: of class c at (y, x) of the image, in a window at (top, left).
SEGMENT = """
const found = [];
for (const [height, width, side, overlap] of sizes) {
  const run = async (top, left, tall, wide) => {
    const logits = new Float32Array(3 * tall * wide);
    for (let index = 0; index < logits.length; index++) {
      const id = Math.floor(index / (tall * wide)), y = top + Math.floor(index / wide) % tall, x = left + index % wide;
      logits[index] = ((y * 7 + x * 13 + id * 29 + top * 3 + left * 5) % 17) / 4;
    }
    return logits;
  };
  let last = null;
  const tiling = { side, overlap };
  const ids = await segment({ width, height }, 3, tiling, run, async (done, all) => (last = [done, all]));
  found.push([[...ids], last]);
}
console.log(JSON.stringify(found));
"""


def run(script):
    module = (OWN / "windows.js").as_uri()
    header = f"import {{ Side, mosaic, segment, softmax, argmax }} from {json.dumps(module)};\n"
    header += f"const sizes = {json.dumps(SIZES)};\n"
    command = [NODE, "--input-type=module", "-e", header + script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_windows_are_those_of_a_prediction():
    for (height, width, side, overlap), found in zip(SIZES, run(MOSAIC), strict=True):
        mosaic = Mosaic((height, width), side, overlap)
        expected = list(mosaic)
        assert len(found) == len(expected)
        for (top, left, rows, columns, pieces), (window, own) in zip(found, expected, strict=True):
            assert (top, left) == (window.top, window.left)
            for weights, theirs in zip((rows, columns), mosaic.weights(window), strict=True):
                np.testing.assert_array_equal(np.array(weights, np.float32), theirs)
            places = [
                [*(edge[0] for edge in piece.place.ranges()), *(edge[1] for edge in piece.place.ranges())]
                for piece in own
            ]
            assert pieces == [[*place, piece.shared, piece.complete] for place, piece in zip(places, own, strict=True)]


def test_the_masks_are_those_of_a_prediction(monkeypatch):
    monkeypatch.setattr(tta, "LEAST_WINDOW", 1)  # the windows here are small, so that images have many
    several = 0
    for (height, width, side, overlap), (ids, last) in zip(SIZES, run(SEGMENT), strict=True):
        places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))

        def model(images):
            y, x = images[0].long()
            classes = torch.arange(3)[:, None, None]
            logits = (y * 7 + x * 13 + classes * 29 + y[0, 0] * 3 + x[0, 0] * 5) % 17 / 4
            return logits[None].float()

        inference = Inference(window=side, overlap=overlap)
        expected = argmax_classes(inference(model, places[None].float()))[0]
        assert np.array(ids).reshape(height, width).tolist() == expected.tolist()
        several += last is not None and last[0] == last[1] > 1
    assert several >= 3


def test_ties_go_to_the_first_class_and_softmax_survives_large_logits():
    script = """
    const ids = [];
    argmax(Float32Array.of(1, 5, 2, 1, 5, 9, 1, 6, 9), 3, (pixel, id) => (ids[pixel] = id));
    console.log(JSON.stringify([ids, [...softmax(Float32Array.of(1000, -1000, 1000, -999), 2)]]));
    """
    ids, probabilities = run(script)
    assert ids == [0, 2, 1]
    np.testing.assert_allclose(probabilities, [0.5, 0.268941, 0.5, 0.731059], atol=1e-6)
