"""Two real processes on the CPU (gloo) give the results of one process.

Started by Lightning, by torchrun, and as SLURM's srun starts them: on one machine, and as on two.

Each run takes seconds to start: `pytest -m slow`.
"""

import os
import signal

import pytest
import torch
from two_processes import (
    ONE_EACH,
    OPTIONS,
    ROOT,
    TWO,
    assert_nobody_left,
    assert_same,
    free_port,
    outcome,
    segnet,
    the_run,
    torchrun,
)

from segnet.models.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow


def test_two_processes_equal_one_process_with_twice_the_batch(two, tmp_path):
    code, output = segnet([*OPTIONS, "data.batch_size=4"], tmp_path)
    assert code == 0, output
    (weights, results), (expected, once) = outcome(two), outcome(tmp_path)
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-4, atol=1e-5)
    assert results["steps"] == once["steps"] == 6
    assert results["num_images"] == 5


def test_distillation_in_two_processes_equals_one_process_with_twice_the_batch(two, tmp_path):
    teacher = [f"teacher={the_run(two) / 'best.ckpt'}", "seed=1"]
    folders = tmp_path / "two", tmp_path / "one"
    for folder, options in zip(folders, (TWO, [*OPTIONS, "data.batch_size=4"]), strict=True):
        folder.mkdir()
        code, output = segnet([*options, *teacher], folder)
        assert code == 0, output
        assert "teacher: " in output
    (weights, _), (expected, _) = map(outcome, folders)
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=1e-4, atol=1e-5)


def test_validation_scores_equal_those_of_one_process(two):
    """val/miou of the best epoch, counted by two processes over five images, and the final evaluation by one."""
    _, results = outcome(two)
    rows = (the_run(two) / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/miou")
    figures = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(figures) == 2
    assert torch.tensor(max(figures), dtype=torch.float32) == torch.tensor(results["miou"], dtype=torch.float32)


@pytest.mark.parametrize("program", [["-m", "segnet", "train"], [str(ROOT / "train.py")]], ids=["segnet", "train.py"])
def test_torchrun_gives_the_same_results_in_one_folder(two, tmp_path, program):
    code, output = segnet(TWO, tmp_path, *torchrun(free_port(), "--nproc-per-node=2"), *program)
    assert code == 0, output
    assert_same(tmp_path, two)


def test_torchrun_on_two_machines_gives_the_same_results_in_one_folder(two, tmp_path):
    port = free_port()
    machines = []
    for rank in (0, 1):
        launcher = torchrun(port, "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1", "--master-addr=127.0.0.1")
        options = [*ONE_EACH, "trainer.num_nodes=2"]
        machines.append(segnet(options, tmp_path, *launcher, "-m", "segnet", "train", wait=False))
    for machine in machines:
        output, _ = machine.communicate(timeout=300)
        assert machine.returncode == 0, output
    assert_same(tmp_path, two)


def test_torchrun_can_forward_a_signal(two, tmp_path):
    """torchrun exits with its own code, after its processes exit in order."""
    launcher = torchrun(free_port(), "--nproc-per-node=2", "--signals-to-handle=SIGTERM,SIGINT,SIGUSR1")
    process = segnet([*TWO, "checkpoint=auto"], tmp_path, *launcher, "-m", "segnet", "train", wait=False)
    for line in process.stdout:
        if line.startswith("epoch   1"):
            process.send_signal(signal.SIGUSR1)
            break
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert output.count("SIGUSR1 at step") == 1, output
    code, output = segnet([*TWO, "checkpoint=auto"], tmp_path)
    assert code == 0, output
    assert "resuming from" in output
    assert_same(tmp_path, two)


@pytest.mark.parametrize("whom", ["first", "group"])
def test_a_signal_stops_both_processes_and_the_run_resumes_exactly(two, tmp_path, whom):
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
    assert_same(tmp_path, two)


# In an epoch between two checkpoints, in the middle of a write of one, and while a validation goes on.
KILLING = """
import os, signal, sys
import torch
from segnet.training.task import SegmentationTask
def kill(when):
    if when == os.environ["WHEN"] and int(os.environ.get("LOCAL_RANK", 0)) == int(os.environ["WHOM"]):
        os.killpg(0, signal.SIGKILL)
training_step, validation_step, save = SegmentationTask.training_step, SegmentationTask.validation_step, torch.save
def counted_step(self, batch, batch_idx):
    if self.trainer.global_step == 4:
        kill("step")
    return training_step(self, batch, batch_idx)
def counted_validation(self, batch, batch_idx):
    if self.current_epoch == 1:
        kill("validation")
    return validation_step(self, batch, batch_idx)
def torn_save(content, path):
    save(content, path)
    if content["global_step"] == 4:
        os.truncate(path, 1000)
        kill("save")
SegmentationTask.training_step, SegmentationTask.validation_step = counted_step, counted_validation
torch.save = torn_save
from segnet.cli import main
main()
"""


@pytest.mark.parametrize(("when", "whom"), [("step", 0), ("step", 1), ("validation", 1), ("save", 0)])
def test_killing_both_processes_loses_nothing(two, tmp_path, when, whom):
    """SIGKILL of the whole process group: no process and no handler can react."""
    script = tmp_path / "killing.py"
    script.write_text(KILLING)
    options = [*TWO, "checkpoint_every=1", "checkpoint=auto"]
    environment = {"WHEN": when, "WHOM": str(whom)}
    process = segnet(["train", *options], tmp_path, str(script), environment=environment, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    assert_nobody_left(process, output)
    run = the_run(tmp_path)
    assert not (run / "results.json").exists()
    assert bool(list(run.glob(".last.ckpt.*.tmp"))) == (when == "save")
    code, output = segnet(options, tmp_path)
    assert code == 0, output
    assert "resuming from" in output
    assert not list(run.glob(".*.tmp"))
    assert_same(tmp_path, two)
    columns = [(the_run(folder) / "metrics.csv").read_text() for folder in (tmp_path, two)]
    assert columns[0] == columns[1]


def test_a_kill_in_a_delayed_validation_loses_nothing(tmp_path):
    """Two processes accumulate four batches; a validation is due after every third of six an epoch."""
    options = [*OPTIONS, "data.batch_size=1", "trainer.devices=2", "checkpoint_every=1"]
    options += ["trainer.accumulate_grad_batches=4", "trainer.val_check_interval=3"]
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    code, output = segnet(options, tmp_path / "whole")
    assert code == 0, output
    (tmp_path / "killing.py").write_text(KILLING)
    environment = {"WHEN": "validation", "WHOM": "1"}
    script = str(tmp_path / "killing.py")
    process = segnet(["train", *options], tmp_path / "killed", script, environment=environment, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, output
    assert_nobody_left(process, output)
    assert read_checkpoint(the_run(tmp_path / "killed") / "last.ckpt")["global_step"] == 3  # of 4; batch 4 of 6
    code, output = segnet([*options, "checkpoint=auto"], tmp_path / "killed")
    assert code == 0, output
    assert_same(tmp_path / "killed", tmp_path / "whole")
    columns = [(the_run(tmp_path / name) / "metrics.csv").read_text() for name in ("whole", "killed")]
    assert columns[0] == columns[1]


FULL_DISK = """
import resource
from segnet.training.task import SegmentationTask
original = SegmentationTask.training_step
def training_step(self, batch, batch_idx):
    if self.trainer.is_global_zero and self.trainer.global_step in (1, 2):
        full = 50_000 if self.trainer.global_step == 1 else resource.RLIM_INFINITY
        resource.setrlimit(resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY))
    return original(self, batch, batch_idx)
SegmentationTask.training_step = training_step
from segnet.cli import main
main()
"""


def test_a_full_disk_within_an_epoch_keeps_both_processes_synchronized(two, tmp_path):
    """Only rank zero writes, and its write fails at step 2."""
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    code, output = segnet(["train", *TWO, "checkpoint_every=1"], tmp_path, str(script))
    assert code == 0, output
    assert output.count("last.ckpt: cannot be written") == 1
    assert_same(tmp_path, two)
