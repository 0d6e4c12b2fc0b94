"""Trainings in two real processes on the CPU, started by Lightning, by torchrun, and as SLURM's srun starts them."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from segnet.models.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = [
    "backbone.depths=[1,1,1,1]",
    "backbone.base_channels=16",
    "backbone.stem_channels=16",
    "norm.name=group",  # no statistics over the batch: two processes of 2 images are one of 4
    "decoder.aspp_channels=8",
    "decoder.low_level_channels=4",
    "decoder.decoder_channels=8",
    "decoder.dropout=0",
    "dataset.num_train=13",
    "dataset.num_val=5",
    "dataset.size=[40,32]",
    "data.crop_size=[32,32]",
    "data.scale_range=[1,2]",  # no padding: a mean over counted pixels is then a mean over images
    "data.num_workers=0",
    "optim.lr=0.002",  # at higher rates the rounding of float32 grows in a few steps
    "trainer.accelerator=cpu",
    "trainer.max_epochs=2",
    "trainer.log_every_n_steps=1",
]
ONE_EACH = [*OPTIONS, "data.batch_size=2"]
TWO = [*ONE_EACH, "trainer.devices=2"]
ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "RANK", "LOCAL_RANK"))},
    "PYTHONPATH": str(ROOT),
    "OMP_NUM_THREADS": "1",
}


def segnet(arguments, folder, *launcher, environment=None, wait=True):
    process = subprocess.Popen(
        [sys.executable, *(launcher or ["-m", "segnet", "train"]), *arguments],
        cwd=folder,
        env={**ENVIRONMENT, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    if not wait:
        return process
    output, _ = process.communicate(timeout=300)
    return process.returncode, output


def the_run(folder):
    """Return the only run folder."""
    [run] = (folder / "runs").iterdir()
    return run


def outcome(folder):
    run = the_run(folder)
    return read_checkpoint(run / "last.ckpt")["state_dict"], json.loads((run / "results.json").read_text())


def assert_same(folder, two):
    """Assert a single run folder, with results equal to the bit to those of Lightning's two processes."""
    (weights, results), (expected, once) = outcome(folder), outcome(two)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert results["miou"] == once["miou"]


def torchrun(port, *options):
    return ["-m", "torch.distributed.run", *options, f"--master-port={port}"]


def srun(folder, arguments, nodes, *program, environment=None):
    """Start two tasks like SLURM's srun, on one or two nodes."""
    port = free_port()
    tasks = []
    for rank in (0, 1):
        slurm = {
            **(environment or {}),
            "SLURM_JOB_ID": "4711",
            "SLURM_JOB_NAME": "train",
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": str(2 // nodes),
            "SLURM_NNODES": str(nodes),
            "SLURM_NODELIST": "localhost",
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank % (2 // nodes)),
            "SLURM_NODEID": str(rank // (2 // nodes)),
            "MASTER_PORT": str(port),
        }
        options = [*arguments, f"trainer.devices={2 // nodes}", f"trainer.num_nodes={nodes}"]
        tasks.append(segnet(options, folder, *program, environment=slurm, wait=False))
    return tasks


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def assert_nobody_left(process, output):
    """Return True if the process group has no process left."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail(f"a process went on: {output}")
