"""`segnet benchmark`: counts of operations, measurements, and one-line errors for impossible options."""

import json

import doomed
import pytest
import torch
from exports import SPEC, write_checkpoint
from tiny import components
from torch import nn

from segnet.config import OptimConfig
from segnet.errors import ConfigError, MachineError
from segnet.models.segmentation_model import SegmentationModel
from segnet.system import machine
from segnet.verb_config import BenchmarkConfig
from segnet.workflows import benchmark as benchmarking
from segnet.workflows.benchmark import Benchmark, benchmark, count
from segnet.workflows.benchmark import measure_prediction as predict
from segnet.workflows.benchmark import measure_training as train
from segnet.workflows.costs import ALLOCATED, RESIDENT, Cost


def config(**changes):
    options = {**components(), "loss": {"name": "cross_entropy"}, "num_classes": 4, "image_size": [64, 96]}
    return BenchmarkConfig(**{**options, "batch_size": 2, "device": "cpu", "seconds": 1e-3, **changes})


@pytest.mark.parametrize("output_stride", [8, 16])
def test_counted_parameters_and_operations_match_the_layers(output_stride):
    spec = {**SPEC, **components(output_stride)}
    model = SegmentationModel(**spec).eval()
    macs = 0

    def add(conv, inputs, output):
        nonlocal macs
        macs += output.numel() * conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(add)
    model(torch.zeros(1, 3, 64, 96))
    assert count(spec, [64, 96]) == (sum(weight.numel() for weight in model.parameters()), macs)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_throughput_is_images_divided_by_seconds(tmp_path, batch_size):
    checkpoint = write_checkpoint(tmp_path / "model.ckpt")
    for measure in (train, predict):
        cost = measure(checkpoint, config(batch_size=batch_size))
        assert cost.images_per_second * cost.seconds == pytest.approx(batch_size)
        assert cost.memory is None or cost.memory >= 0
        assert (cost.memory_is, cost.runs_on) == (RESIDENT, "torch")


def test_a_measured_training_step_is_that_of_the_task(tmp_path, monkeypatch):
    """The auxiliary head, optimizer and classes come from the checkpoint; autocast sets the precision."""
    wanted = config(auxiliary_head={"name": "fcn"}, optim=OptimConfig(name="adamw"), num_classes=300, precision="bf16")
    checkpoint = benchmarking._write_untrained(wanted, tmp_path / "untrained.ckpt")
    seen = []
    losses = benchmarking.SegmentationTask.losses

    def watched(task, images, mask):
        seen.append((task.optim.name, task.auxiliary_head is not None, torch.is_autocast_enabled("cpu")))
        assert images.dtype == torch.uint8
        assert images.shape == (2, 3, 64, 96)
        assert mask.shape == (2, 64, 96)
        assert mask.max() > 255
        return losses(task, images, mask)

    monkeypatch.setattr(benchmarking.SegmentationTask, "losses", watched)
    train(checkpoint, wanted)
    assert set(seen) == {("adamw", True, True)}


def test_a_cached_export_is_measured_and_named(tmp_path):
    for package in ("onnx", "onnxscript", "openvino"):
        pytest.importorskip(package, reason=f"{package} is an optional package, and not installed")
    checkpoint = write_checkpoint(tmp_path / "model.ckpt")
    assert predict(checkpoint, config(runtime=None)).runs_on == "torch"
    benchmarking._open_model(checkpoint, config(runtime="openvino"))
    assert predict(checkpoint, config(runtime=None)).runs_on == "openvino"


def test_a_killed_process_is_reported_as_out_of_memory(tmp_path):
    with pytest.raises(MachineError, match="killed, most likely out of memory with 2 images of 64 x 96: lower ba"):
        benchmarking._in_fresh_process(doomed.killed, tmp_path, config())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_out_of_memory_names_the_options_to_lower(tmp_path, error):
    def fill(checkpoint, config):
        raise error

    with pytest.raises(MachineError, match=r"out of memory with 7 images: lower batch_size or image_size$"):
        benchmarking._explained(fill, tmp_path, config(), "7 images")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("num_classes", 0),
        ("image_size", [64]),
        ("image_size", [32, 64]),
        ("precision", "auto"),
        ("seconds", 0.0),
        ("seconds", float("nan")),
        ("loss", {"name": "cross_entropy", "class_weight": "auto"}),
    ],
)
def test_impossible_options_are_refused_before_anything_is_measured(option, value, monkeypatch):
    monkeypatch.setattr(benchmarking, "_in_fresh_process", None)
    with pytest.raises(ConfigError, match=option):
        benchmark(config(**{option: value}))


def test_the_json_file_contains_all_results(tmp_path):
    cost = Cost(images_per_second=2.0, seconds=1.0, memory=None, memory_is=ALLOCATED, runs_on="torch", machine="a GPU")
    found = Benchmark(config=config(), model=SPEC, parameters=5, macs=7, training=cost, prediction=cost)
    found.write(tmp_path / "benchmark.json")
    written = json.loads((tmp_path / "benchmark.json").read_text())
    assert (written["macs"], written["flops"], written["parameters"]) == (7, 14, 5)
    assert (written["batch_size"], written["image_size"], written["precision"]) == (2, [64, 96], "float32")
    assert written["training"] == written["prediction"]
    assert written["training"]["memory"] is None


def test_without_bf16_instructions_float32_is_measured_and_reported(monkeypatch):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    measured = []

    def apart(task, checkpoint, config):
        measured.append(config.precision)
        return Cost(
            images_per_second=1.0, seconds=1.0, memory=None, memory_is=RESIDENT, runs_on="torch", machine="this one"
        )

    monkeypatch.setattr(benchmarking, "_in_fresh_process", apart)
    assert benchmark(config(precision="bf16")).to_dict()["precision"] == "float32"
    assert measured == ["float32"] * 2
