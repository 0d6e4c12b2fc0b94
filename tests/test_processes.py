"""Two processes on the CPU, for real (gloo): what comes out is what one process gives.

Each run takes seconds to start: `pytest -m slow`.
"""

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

from segnet.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
OPTIONS = [
    "backbone.depths=[1,1,1,1]",
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
TWO = [*OPTIONS, "trainer.devices=2", "data.batch_size=2"]
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
    """The one run folder."""
    [run] = (folder / "runs").iterdir()
    return run


def outcome(folder):
    run = the_run(folder)
    return read_checkpoint(run / "last.ckpt")["state_dict"], json.loads((run / "results.json").read_text())


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A finished run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    code, output = segnet(TWO, folder)
    assert code == 0, output
    return folder


def test_two_processes_end_as_one_with_twice_the_batch(two, tmp_path):
    code, output = segnet([*OPTIONS, "data.batch_size=4"], tmp_path)
    assert code == 0, output
    (weights, results), (expected, once) = outcome(two), outcome(tmp_path)
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-4, atol=1e-5)
    assert results["steps"] == once["steps"] == 6
    assert results["num_images"] == 5


def test_the_figure_while_training_is_that_of_one_process(two):
    """val/miou of the best epoch, counted by two processes over five images, and the final evaluation by one."""
    _, results = outcome(two)
    rows = (the_run(two) / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/miou")
    figures = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(figures) == 2
    assert torch.tensor(max(figures), dtype=torch.float32) == torch.tensor(results["miou"], dtype=torch.float32)


def test_torchrun_gives_the_same_in_one_folder(two, tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    code, output = segnet(["train", *TWO], tmp_path, *launcher, "-m", "segnet")
    assert code == 0, output
    (weights, results), (expected, once) = outcome(tmp_path), outcome(two)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert results["miou"] == once["miou"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("whom", ["first", "group"])
def test_a_signal_ends_both_and_the_run_goes_on_exactly(two, tmp_path, whom):
    process = segnet([*TWO, "trainer.max_epochs=2"], tmp_path, wait=False)
    for line in process.stdout:
        if line.startswith("epoch   1"):
            (os.kill if whom == "first" else os.killpg)(process.pid, signal.SIGTERM)
            break
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 143, output
    assert output.count("SIGTERM at step") == 1
    code, output = segnet([*TWO, "checkpoint=auto"], tmp_path)
    assert code == 0, output
    (weights, results), (expected, once) = outcome(tmp_path), outcome(two)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert results["miou"] == once["miou"]


FAILING = """
import os, sys
from segnet.errors import DataError
from segnet.task import SegmentationTask
original = SegmentationTask.training_step
def training_step(self, batch, batch_idx):
    if self.trainer.global_rank == int(os.environ["FAILING"]) and self.trainer.global_step == 2:
        if os.environ["HOW"] == "kill":
            os.kill(os.getpid(), 9)
        raise DataError("b.png: is damaged")
    return original(self, batch, batch_idx)
SegmentationTask.training_step = training_step
from segnet.cli import main
main()
"""


@pytest.mark.parametrize("how", ["error", "kill"])
@pytest.mark.parametrize("rank", [0, 1])
def test_what_ends_one_process_ends_both(tmp_path, rank, how):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    process = segnet(["train", *TWO], tmp_path, str(script), environment={"FAILING": str(rank), "HOW": how}, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    if how == "error":
        assert "segnet: error: b.png: is damaged" in output
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # the process group is gone when nobody is left in it
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    pytest.fail(f"a process went on: {output}")


def test_fewer_val_images_than_processes_are_refused(tmp_path):
    code, output = segnet([*TWO, "dataset.num_val=1"], tmp_path)
    assert code == 3
    assert "the val split has 1 images, fewer than the 2 processes" in output


def test_a_sweep_over_two_processes_is_refused(tmp_path):
    code, output = segnet([*TWO, "--multirun", "seed=1,2"], tmp_path)
    assert code == 2
    assert "leave out --multirun" in output
