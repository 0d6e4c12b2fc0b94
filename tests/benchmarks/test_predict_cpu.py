"""Parts of the CPU prediction benchmark, with a fake peer."""

import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import predict_cpu

    yield predict_cpu
    for name in ("predict_cpu", "peer"):
        sys.modules.pop(name, None)


def test_ratios_are_computed_per_round(benchmark, capsys, monkeypatch):
    clock = iter([0.0, 1.0, 0.0, 1.0, *(value for seconds in (1.0, 2.0, 4.0) for value in (0.0, seconds))])
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(benchmark.time, "sleep", lambda _: None)
    benchmark.measure({"ours": lambda image: image}, lambda: 6.0, (8, 8), rounds=3)
    assert capsys.readouterr().out.split() == ["smp", "eager", "6000", "ms", "1.00x", "ours", "2000", "ms", "3.00x"]


def test_outputs_are_compared_with_the_eager_model(benchmark, capsys, tmp_path):
    benchmark.write_checkpoint(tmp_path / "a.ckpt", {"block": "basic", "depths": [1, 1, 1, 1]}, 16)
    model, _ = benchmark.load_checkpoint(tmp_path / "a.ckpt")
    runs = {"equal": torch.inference_mode()(model), "not": lambda images: -torch.inference_mode()(model)(images)}
    benchmark.compare_outputs(tmp_path / "a.ckpt", runs, (32, 48))
    equal, other = capsys.readouterr().out.splitlines()
    assert "100.000%, largest error 0.0e+00" in equal
    assert "0.000%, largest error 2.0e+00" in other


def test_the_peer_answers_line_by_line(benchmark, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho versions\nwhile read line; do echo 0.25; done\n")
    python.chmod(0o755)
    with benchmark.Peer(str(python)) as peer:
        assert peer.versions == "versions"
        assert peer.run("tu-resnet50d", 16, 8, 8) == 0.25
