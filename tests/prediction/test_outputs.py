"""The table of class fractions: complete for all inputs of a folder, and safe in a spreadsheet."""

import csv
import os

import numpy as np
import pytest

from segnet.classes import Classes
from segnet.inference.segmentation import Segmentation
from segnet.prediction.outputs import WRITERS, Style, write_shares
from segnet.prediction.records import SAVE_SUFFIXES, Origin, Records


def remember(folder, name, pixels, source="/in/a.png", **facts):
    with Records(folder).taken(name, ["csv"], Origin(source, [1, 2], {}), {"pixels": pixels, **facts}):
        pass


def table(folder) -> list[list[str]]:
    path = write_shares(Records(folder), ["road", "=cmd|' /C calc'!A0"])
    return list(csv.reader(path.read_text(encoding="utf-8").splitlines()))


def test_shares_csv_has_a_row_for_each_input(tmp_path):
    remember(tmp_path, "sub/a", {"road": 1, "tree": 3}, size=[2, 2], frames=1, checkpoint="best.ckpt")
    remember(tmp_path, "clip", {"road": 2, "tree": 0}, size=[1, 1], frames=2)
    with Records(tmp_path).taken("unfinished", ["csv"], Origin("/in/b.png", [1, 2], {})):
        pass
    head, clip, picture = table(tmp_path)
    assert head == ["result", "input", "checkpoint", "height", "width", "frames", "road", "'=cmd|' /C calc'!A0", "tree"]
    assert clip == ["clip", "/in/a.png", "", "1", "1", "2", "1.000000", "", "0.000000"]
    assert picture == ["sub/a", "/in/a.png", "best.ckpt", "2", "2", "1", "0.250000", "", "0.750000"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_cells_are_not_formulas(tmp_path, start):
    remember(tmp_path, f"{start}1+2", {f"{start}road": 1}, source=f"{start}x.png", checkpoint=f"{start}c")
    cells = [cell for row in table(tmp_path) for cell in row]
    assert f"'{start}road" in cells
    assert f"'{start}1+2" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_names_outside_utf_8_are_written(tmp_path):
    remember(tmp_path, os.fsdecode(b"caf\xe9"), {"road": 1}, source=os.fsdecode(b"/in/caf\xe9.png"))
    assert table(tmp_path)[1][:2] == ["caf\\udce9", "/in/caf\\udce9.png"]


@pytest.mark.parametrize("kind", list(WRITERS))
def test_each_kind_is_an_atomic_write(tmp_path, kind, monkeypatch):
    classes = Classes.create(["a", "b"])
    rng = np.random.default_rng(0)
    probabilities = rng.random((2, 6, 5)).astype(np.float16)
    image, mask = rng.integers(0, 256, (6, 5, 3), np.uint8), rng.integers(0, 2, (6, 5)).astype(np.uint8)
    path = tmp_path / "new" / f"a{SAVE_SUFFIXES[kind]}"
    WRITERS[kind](path, Segmentation(image, mask, classes, probabilities), Style(), str(tmp_path / "a.png"))
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    def fail(*_):
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        WRITERS[kind](path, Segmentation(image, 1 - mask, classes, probabilities), Style(), "a.png")
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
