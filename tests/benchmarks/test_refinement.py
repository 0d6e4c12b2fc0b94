"""Parts of the benchmark of refinement: its rows, and its video."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import refinement

    yield refinement
    for name in ("refinement", "side_by_side"):
        sys.modules.pop(name, None)


def test_each_step_has_a_row_and_smoothing_flickers_less(benchmark, capsys):
    assert benchmark.main(["--size", "24", "32", "--classes", "4", "--repeats", "1", "--frames", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        sum(
            line.startswith(("default", "softmax", "threshold", "refuse", "min_area", "all", "smooth"))
            for line in lines
        )
        == 8
    )
    rows = [[float(value) for value in line.split()] for line in lines[-6:-1]]
    assert [row[0] for row in rows] == list(benchmark.WEIGHTS)
    assert rows[2][2] < rows[1][2] < rows[0][2]
    assert float(lines[-1].split()[5]) < rows[0][2]


def test_disks_move_by_a_few_pixels(benchmark):
    masks = list(benchmark.truths(4))
    assert {*masks[0].ravel().tolist()} == {0, 1, 2, 3}
    assert 0 < benchmark.true_changes(4) < 0.05
