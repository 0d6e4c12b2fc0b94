"""The data pipeline benchmark compares equivalent pipelines on equal files, and prints its table."""

import importlib.util
import os
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segnet.config import DataConfig

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "data_pipeline.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("data_pipeline", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "data_pipeline", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    threads, torch_threads = cv2.getNumThreads(), torch.get_num_threads()
    yield module
    cv2.setNumThreads(threads)
    torch.set_num_threads(torch_threads)


def test_all_variants_give_tensors_of_the_crop_size(script, tmp_path):
    setting = script.Setting("tiny", (80, 120), (32, 48), ".png")
    dataset = script.write_files(tmp_path, setting, 2)
    made = script.variants(dataset, DataConfig(crop_size=[32, 48]), tmp_path)
    for name, function in made.items():
        result = function(0, 1)
        if name == "segnet: decode whole files":
            assert result.image.shape == (80, 120, 3)
            assert len(np.unique(result.mask)) > 1
            continue
        assert result["image"].shape == (3, 32, 48)
        assert result["image"].dtype == (torch.float32 if name.startswith("plain") else torch.uint8)
        assert result["mask"].shape == (32, 48)
    whole = [made[name](3, 1) for name in made if name.startswith("segnet: all")]
    assert all(torch.equal(sample["image"], whole[0]["image"]) for sample in whole)


def test_ratios_are_medians_over_rounds(script):
    times = {
        "plain: augment": [4.0, 9.0, 8.0],
        "segnet: augment": [2.0, 3.0, 4.0],
        "plain: all, OpenCV": [1.0, 1.0, 1.0],
    }
    assert "2.00 x" in script.table(times)


def test_a_run_prints_its_tables(script, monkeypatch, capsys):
    monkeypatch.setattr(script, "SETTINGS", (script.Setting("tiny", (80, 120), (32, 48), ".jpg"),))
    script.main(["--images", "1", "--rounds", "1", "--sizes", "tiny"])
    out = capsys.readouterr().out
    assert "OpenCV" in out
    assert "tiny: 120 x 80" in out
    assert "data.cache=memory" in out


def test_both_readers_of_the_plain_pipeline_read_the_same(script, tmp_path):
    setting = script.Setting("tiny", (80, 120), (32, 48), ".png")
    pair = script.write_files(tmp_path, setting, 1).pairs[0]
    for one, other in zip(script.read_with_opencv(pair), script.read_with_pillow(pair), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_variant_runs_in_a_process_of_its_own(script, tmp_path):
    def leave_a_trace(epoch, index):
        (tmp_path / f"{os.getpid()}-{epoch}-{index}").touch()

    times = script.measure({"one": leave_a_trace, "segnet": leave_a_trace}, num_images=2, rounds=1)
    traces = [path.name.split("-") for path in tmp_path.iterdir()]
    assert len({process for process, *_ in traces} - {str(os.getpid())}) == 2
    assert sorted(rest for _, *rest in traces) == sorted([[str(e), str(i)] for e in range(2) for i in range(2)] * 2)
    assert {name: len(seconds) for name, seconds in times.items()} == {"one": 1, "segnet": 1}
