"""Parts of the CPU prediction benchmark, with a fake peer."""

import sys
from pathlib import Path

import pytest
import torch

from segnet.errors import ConfigError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import predict_cpu

    yield predict_cpu
    for name in ("predict_cpu", "peer", "side_by_side"):
        sys.modules.pop(name, None)


def ways(benchmark, *seconds: float):
    """An eager rival (6 s), a runtime of segnet with these times after the warm-up, and the convolution (3 s)."""
    times = iter([9.0, 9.0, *seconds])
    return {
        "smp eager": benchmark.Way(lambda: 6.0, 60e9),
        "torch float32": benchmark.Way(lambda: next(times), 90e9, "smp eager"),
        benchmark.CONVOLUTION: benchmark.Way(lambda: 3.0, 300e9),
    }


def test_ratios_are_computed_per_round(benchmark, capsys, monkeypatch):
    monkeypatch.setattr(benchmark.time, "sleep", lambda _: None)
    benchmark.measure(ways(benchmark, 1.0, 2.0, 4.0), rounds=3)
    eager, ours, convolution = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert eager == "smp eager 6000 ms 1.00x smp eager 60.0 GFLOP, 10.0% of the convolution"
    assert ours == "torch float32 2000 ms 3.00x smp eager 90.0 GFLOP, 45.0% of the convolution 3.00x smp eager"
    assert convolution.endswith("300.0 GFLOP, 100.0% of the convolution")


def test_cpu_times_are_the_shortest_and_so_are_their_ratios(benchmark, capsys, monkeypatch):
    monkeypatch.setattr(benchmark.time, "sleep", lambda _: None)
    benchmark.measure(ways(benchmark, 4.0, 1.5, 3.0), rounds=3, shortest=True)
    ours = " ".join(capsys.readouterr().out.splitlines()[1].split())
    assert ours == "torch float32 1500 ms 4.00x smp eager 90.0 GFLOP, 60.0% of the convolution 4.00x smp eager"


def test_cpu_time_has_one_thread(benchmark):
    with pytest.raises(ConfigError, match="--cpu-time measures one thread: leave out --threads 2"):
        benchmark.main(["--peer", "python", "--cpu-time", "--threads", "2"])


def test_as_many_rounds_are_measured_as_fit_into_the_time(benchmark, capsys, monkeypatch):
    clock = iter([0.0, 0.0, 15.0, *[0.0] * 9])  # the second warm-up round takes 15 s
    monkeypatch.setattr(benchmark.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(benchmark.time, "sleep", lambda _: None)
    benchmark.measure(ways(benchmark, 2.0, 2.0, 2.0), rounds=11, limit=50.0)
    assert capsys.readouterr().out.startswith("  3 rounds fit into 50 s\n")


def test_our_runs_have_the_operations_of_the_checkpoint_and_their_rival(benchmark, tmp_path):
    benchmark.write_checkpoint(tmp_path / "a.ckpt", {"block": "basic", "depths": [1, 1, 1, 1]}, 16)
    found = benchmark.our_ways(tmp_path / "a.ckpt", dict.fromkeys(["torch bf16", "openvino float32"], len), (64, 64))
    assert [way.rival for way in found.values()] == ["smp eager", "smp openvino", None]
    assert found["torch bf16"].flops == found["openvino float32"].flops > 1e8
    assert found["torch bf16"].run() >= 0


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
    python.write_text("#!/bin/sh\necho versions $2\nwhile read line; do echo $line >> $0.log; echo 0.25; done\n")
    python.chmod(0o755)
    with benchmark.Peer(str(python), cpu_time=True) as peer:
        assert peer.versions == "versions cpu-time"
        assert peer.run("openvino", "tu-resnet50d", 16, 8, 8) == 0.25
    assert (tmp_path / "python.log").read_text() == "openvino tu-resnet50d 16 8 8\n"
