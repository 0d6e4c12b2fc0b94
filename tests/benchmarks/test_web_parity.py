"""The comparison of a page with a prediction counts pixels; the page itself is tested in tests/exporters/web."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "web_parity.py"
spec = importlib.util.spec_from_file_location("web_parity", SCRIPT)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


def test_different_pixels_are_counted_also_those_beside_another_class(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 4)).save(tmp_path / name)

    def predict(image):
        assert image.size == (7, 3)
        mask = np.zeros((3, 7), np.uint8)
        mask[:, 4:] = 1
        return mask

    def segment(image):
        mask = predict(image)
        mask[1, 4] = 0  # beside class 0
        mask[0, 0] = 2  # inside
        return mask

    line = benchmark.compare([tmp_path / "a.png", tmp_path / "b.png"], predict, segment)
    assert line.startswith("2 images, 42 pixels: 4 have another class (95238.1 per million), 2 of them beside another")


def test_images_are_cut_to_odd_sides():
    assert benchmark.odd(Image.new("RGB", (480, 361))).size == (479, 361)
    assert benchmark.odd(Image.new("RGB", (1, 2))).size == (1, 1)
