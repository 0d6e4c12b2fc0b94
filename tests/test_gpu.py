"""Tests that need one GPU: `python -m pytest -m gpu tests/test_gpu.py`."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import components, configuration

from segnet.errors import Interrupted, MachineError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.callbacks.profiling import TABLE
from segnet.training.task import SegmentationTask
from segnet.workflows.train import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
ROOT = Path(__file__).resolve().parents[1]
GPU = {"accelerator": "gpu", "devices": 1, "max_epochs": 2, "log_every_n_steps": 1}
LOSSES = ["cross_entropy", "ohem", "focal", "dice", "tversky", "lovasz"]


@pytest.fixture(autouse=True)
def settings():
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


def weights(folder):
    return read_checkpoint(folder / "last.ckpt")["state_dict"]


def losses(folder):
    with open(folder / "metrics.csv", newline="") as file:
        return torch.tensor([float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]])


# NCCL allows one process per device; Gloo allows two.
GLOO = """
import sys
from pytorch_lightning.strategies import DDPStrategy
DDPStrategy._get_process_group_backend = lambda self: "gloo"
from segnet.training.task import SegmentationTask
from torch import nn
def on_train_start(self):
    if self.trainer.is_global_zero:
        norms = {type(layer).__name__ for layer in self.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)}
        print("norms:", *sorted(norms), flush=True)
SegmentationTask.on_train_start = on_train_start
from segnet.cli import main
main()
"""
OPTIONS = [
    "backbone.depths=[1,1,1,1]",
    "backbone.base_channels=16",
    "backbone.stem_channels=16",
    "decoder.aspp_channels=8",
    "decoder.low_level_channels=4",
    "decoder.decoder_channels=8",
    "decoder.dropout=0",
    "dataset.num_train=12",
    "dataset.num_val=3",
    "dataset.size=[40,32]",
    "data.crop_size=[32,32]",
    "data.scale_range=[1,2]",  # no padding: a mean over counted pixels is then a mean over images
    "data.num_workers=0",
    "trainer.accelerator=gpu",
    "trainer.devices=1",
    "trainer.precision=64-true",  # or rounding would hide what differs
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
]


def run_processes(folder, num_processes, *options):
    """A run with several processes on the first device, like SLURM on nodes with one device each."""
    folder.mkdir()
    script = folder / "gloo.py"
    script.write_text(GLOO)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "RANK", "LOCAL_RANK"))}
    processes = []
    for rank in range(num_processes):
        slurm = {
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NAME": "train",
            "SLURM_NTASKS": str(num_processes),
            "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_NNODES": str(num_processes),
            "SLURM_NODELIST": "localhost",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": "0",
            "SLURM_NODEID": str(rank),
            "MASTER_PORT": str(port),
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, str(script), "train", *OPTIONS, f"trainer.num_nodes={num_processes}", *options],
                cwd=folder,
                env={**inherited, **slurm, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    outputs = [process.communicate(timeout=500)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs
    [run] = (folder / "runs").iterdir()
    return run, outputs[0]


@pytest.mark.parametrize("batch_size", [2, 1])  # also a single image: statistics cover both processes
def test_sync_batch_norm_with_two_processes_matches_one_process(tmp_path, batch_size):
    two, printed = run_processes(tmp_path / "two", 2, f"data.batch_size={batch_size}")
    assert "norms: SyncBatchNorm\n" in printed
    one, printed = run_processes(tmp_path / "one", 1, f"data.batch_size={2 * batch_size}")
    assert "norms: BatchNorm2d PooledBatchNorm\n" in printed
    found, expected = weights(two), weights(one)
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-6, atol=1e-8, msg=name)
    figures = [json.loads((run / "results.json").read_text()) for run in (two, one)]
    assert figures[0]["miou"] == figures[1]["miou"]


@pytest.mark.parametrize("loss", LOSSES)
def test_deterministic_runs_are_repeatable(tmp_path, loss):
    for name in ("first", "second"):
        train(configuration(trainer=GPU, deterministic=True, loss={"name": loss}), tmp_path / name)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(losses(tmp_path / "first"), losses(tmp_path / "second"))


def test_a_deterministic_run_resumes_exactly(tmp_path, monkeypatch):
    """With dropout: the GPU's random state is restored too."""
    parts = components()
    parts["decoder"]["dropout"] = 0.3
    config = configuration(**parts, trainer=GPU, deterministic=True)
    train(config, tmp_path / "unbroken")
    original = SegmentationTask.training_step

    def ending(self, batch, batch_idx):
        if self.trainer.global_step == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", ending)
    with pytest.raises(Interrupted):
        train(config, tmp_path / "run")
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "run" / "last.ckpt")["global_step"] == 6
    train(replace(config, checkpoint=str(tmp_path / "run" / "last.ckpt")), tmp_path / "unused")
    found, expected = weights(tmp_path / "run"), weights(tmp_path / "unbroken")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (tmp_path / "run" / "metrics.csv").read_text() == (tmp_path / "unbroken" / "metrics.csv").read_text()


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_low_precision_trains_like_float32(tmp_path, precision):
    train(configuration(trainer=GPU), tmp_path / "full")
    train(configuration(trainer={**GPU, "precision": precision}), tmp_path / "low")
    assert all(torch.isfinite(value).all() for value in weights(tmp_path / "low").values())
    assert {value.dtype for value in weights(tmp_path / "low").values()} <= {torch.float32, torch.int64}
    # The first step: later ones grow apart from any rounding.
    torch.testing.assert_close(losses(tmp_path / "low")[:1], losses(tmp_path / "full")[:1], rtol=0.03, atol=0.0)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
def test_every_loss_is_finite_in_low_precision(tmp_path, loss, precision):
    train(configuration(trainer={**GPU, "precision": precision, "max_epochs": 1}, loss={"name": loss}), tmp_path)
    assert torch.isfinite(losses(tmp_path)).all()


def test_out_of_memory_reports_the_memory_in_use(tmp_path):
    torch.cuda.empty_cache()
    device = torch.cuda.current_device()
    torch.cuda.set_per_process_memory_fraction(2e8 / torch.cuda.get_device_properties(device).total_memory)
    config = configuration(trainer=GPU)
    config = replace(config, data=replace(config.data, crop_size=[1024, 1024]))
    try:
        with pytest.raises(MachineError, match=r"GPU out of memory with data\.batch_size=4 .*GiB used by") as caught:
            train(config, tmp_path)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert caught.value.exit_code == 5
    assert "\n" not in str(caught.value)


def test_the_profile_includes_the_gpu(tmp_path):
    shapes = {"name": "shapes", "num_train": 48, "num_val": 2, "size": [40, 32]}
    train(configuration(dataset=shapes, trainer={**GPU, "max_epochs": 1}, profile=True), tmp_path)
    text = (tmp_path / TABLE).read_text()
    assert "Self CUDA" in text
    assert "backward" in text
