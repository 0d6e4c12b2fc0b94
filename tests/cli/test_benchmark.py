"""`segnet benchmark`: command line, table and benchmark.json."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from warm_python import WARM_PYTHON

from segnet.cli.benchmark import main
from segnet.cli.composition import composed
from segnet.cli.tables import print_benchmark
from segnet.errors import CheckpointError, ConfigError
from segnet.verb_config import BenchmarkConfig
from segnet.workflows.benchmark import Benchmark
from segnet.workflows.costs import RESIDENT, Cost

ROOT = Path(__file__).resolve().parents[2]
TINY = ["backbone.depths=[1,1,1,1]", "backbone.base_channels=8", "decoder.aspp_channels=8", "image_size=[64,64]"]


def test_benchmark_prints_a_table_and_writes_json(tmp_path):
    options = [*TINY, "batch_size=1", "seconds=0.01", "device=cpu", "output_stride=8", f"hydra.run.dir={tmp_path}"]
    command = [*WARM_PYTHON, "-m", "segnet", "benchmark", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert f"{written['parameters'] / 1e6:.2f} M" in done.stdout
    assert f"{written['macs'] / 1e9:.2f} GMACs = {written['flops'] / 1e9:.2f} GFLOPs" in done.stdout
    assert str(tmp_path / "benchmark.json") in done.stdout
    assert written["model"]["backbone"]["output_stride"] == written["model"]["decoder"]["output_stride"] == 8
    assert min(written[half]["images_per_second"] for half in ("training", "prediction")) > 0
    assert sys.platform != "linux" or min(written[half]["memory"] for half in ("training", "prediction")) > 2**20


def test_defaults_match_those_of_train():
    assert composed("benchmark", BenchmarkConfig, []) == BenchmarkConfig()
    config = composed("benchmark", BenchmarkConfig, ["backbone=resnet50_vd", "output_stride=8"])
    assert (config.backbone["depths"], config.output_stride) == ([3, 4, 6, 3], 8)
    assert (config.num_classes, config.image_size, config.batch_size) == (19, [512, 512], 4)


@pytest.mark.parametrize("option", ["output_stride=8", "backbone=resnet50_vd", "+norm.groups=4", "num_classes=3"])
def test_options_fixed_by_the_checkpoint_are_refused(option):
    with pytest.raises(ConfigError, match="a checkpoint has its own"):
        main(["checkpoint=best.ckpt", option])


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.ckpt: no such checkpoint"):
        main([f"checkpoint={tmp_path / 'none.ckpt'}", f"hydra.run.dir={tmp_path}"])


def test_options_of_other_verbs_are_refused_without_a_suggestion():
    with pytest.raises(ConfigError, match="dataset is not an option") as caught:
        main(["dataset=shapes"])
    assert "mean 'dataset'" not in str(caught.value)


def test_the_table_names_the_device_of_each_measurement(capsys):
    training = Cost(
        images_per_second=8.0, seconds=0.5, memory=3 * 2**30, memory_is=RESIDENT, runs_on="torch", machine="cpu"
    )
    prediction = Cost(
        images_per_second=16.0, seconds=0.25, memory=None, memory_is=RESIDENT, runs_on="openvino", machine="cpu"
    )
    model = {
        "backbone": {"name": "timm", "model": "regnety_008", "output_stride": 8},
        "decoder": {"name": "deeplabv3"},
        "num_classes": 19,
    }
    print_benchmark(
        Benchmark(
            config=BenchmarkConfig(),
            model=model,
            parameters=40_350_000,
            macs=86_250_000_000,
            training=training,
            prediction=prediction,
        )
    )
    printed = capsys.readouterr().out
    for text in ("timm regnety_008", "output stride 8", "40.35 M", "86.25 GMACs = 172.50 GFLOPs", RESIDENT):
        assert text in printed
    rows = {row.split()[1]: row.split() for row in printed.splitlines() if row.startswith("│")}
    assert rows["training"][3:-1:2] == ["8.00", "500.0", "3.00", "torch"]
    assert rows["prediction"][3:-1:2] == ["16.00", "250.0", "n/a", "openvino"]
