"""Charts as SVG: every cell at its place in its shade, names that cannot break the page."""

import math
import xml.etree.ElementTree as ElementTree

import pytest

from segnet.workflows.charts import heat_map


def cells(svg):
    """{title: (x, y, fill)} of the cells of a chart."""
    found = {}
    for group in ElementTree.fromstring(svg).iter("g"):
        rect = group.find("rect")
        found[group.findtext("title")] = (float(rect.get("x")), float(rect.get("y")), rect.get("fill"))
    return found


def test_cells_stand_in_rows_and_columns_and_darken_with_their_share():
    found = cells(heat_map([[0.0, 0.5], [1.0, math.nan]], ["a", "b"], ["c", "d"], ("truth", "prediction")))
    assert set(found) == {"a, c: 0.0 %", "a, d: 50.0 %", "b, c: 100.0 %"}
    empty, half, full = found["a, c: 0.0 %"], found["a, d: 50.0 %"], found["b, c: 100.0 %"]
    assert (empty[2], half[2], full[2]) == ("#ffffff", "#84a8ce", "#08519c")
    assert half[0] > empty[0] == full[0]
    assert full[1] > empty[1] == half[1]


@pytest.mark.parametrize("name", ["<script>", "a & b", "$x^2", "道路", '"quoted"'])
def test_any_name_is_shown_as_it_is(name):
    svg = heat_map([[0.25]], [name], [name], ("truth", "prediction"))
    texts = [element.text for element in ElementTree.fromstring(svg).iter("text")]
    assert texts.count(name) == 2
    assert f"{name}, {name}: 25.0 %" in cells(svg)


def test_many_columns_keep_within_the_width_and_leave_zeros_out():
    size = 150
    values = [[1.0 if row == column else 0.0 for column in range(size)] for row in range(size)]
    names = [f"class {index}" for index in range(size)]
    svg = heat_map(values, names, names, ("truth", "prediction"), width=900)
    assert float(ElementTree.fromstring(svg).get("width")) <= 903
    assert len(cells(svg)) == size
    assert len(svg) < 60_000
