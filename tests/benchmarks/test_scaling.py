"""The scaling benchmark measures the whole dataset and reports growth."""

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling

    yield scaling
    for name in ("scaling", "predict_memory", "side_by_side"):
        sys.modules.pop(name, None)


def test_growth_is_relative_to_the_lowest_cost_per_file(benchmark):
    taken = {10: (1.0, 2.0), 100: (5.0, 20.0), 1000: (100.0, 200.0)}
    assert benchmark.growth(taken) == pytest.approx([2.0, 1.0])


def test_every_file_is_opened_read_and_cached(benchmark, tmp_path, monkeypatch):
    benchmark.write_dataset(tmp_path, 1003)
    assert len(benchmark.Folder("train", str(tmp_path), benchmark.NAMES)) == 1003
    monkeypatch.setattr(benchmark, "scan_split", watched := Watched(benchmark.scan_split))
    assert min(benchmark.time_dataset(tmp_path, 2)) > 0
    assert watched.num_images == [1003] * 4
    assert len(list(tmp_path.glob("memory */*.json"))) == 2


class Watched:
    """Wrapper of scan_split that records the number of images of each scan, and that all scans differ."""

    def __init__(self, scan_split):
        self._scan_split = scan_split
        self.num_images = []

    def __call__(self, *arguments, **options):
        report = self._scan_split(*arguments, **options)
        self.num_images.append(len({finding.image_hash for finding in report.findings}))
        return report


@pytest.mark.parametrize(("peak", "holds"), [(100, True), (120, False)])
def test_growing_memory_fails_the_claim(benchmark, capsys, monkeypatch, peak, holds):
    def found(checkpoint, way, side, window):
        return {"seconds": side**2 / 1e6, "peak": (peak if side == 4000 else 100) * 2**20, "arrays": 0}

    monkeypatch.setattr(benchmark, "in_a_process_of_its_own", found)
    assert benchmark.main(["--files", "--sides", "500", "2000", "4000"]) == (0 if holds else 1)
    assert ("does NOT hold" in capsys.readouterr().out) is not holds
