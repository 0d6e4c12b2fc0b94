"""Two real processes on the CPU (gloo) give the results of one process.

Started by Lightning, by torchrun, and as SLURM's srun starts them: on one machine, and as on two.

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

from segnet.models.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow
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


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A finished run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    code, output = segnet(TWO, folder)
    assert code == 0, output
    return folder


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


def assert_same(folder, two):
    """Assert a single run folder, with results equal to the bit to those of Lightning's two processes."""
    (weights, results), (expected, once) = outcome(folder), outcome(two)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert results["miou"] == once["miou"]


def torchrun(port, *options):
    return ["-m", "torch.distributed.run", *options, f"--master-port={port}"]


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


@pytest.mark.parametrize("nodes", [1, 2])
def test_slurm_gives_the_same_results_in_one_folder(two, tmp_path, nodes):
    for task in srun(tmp_path, ONE_EACH, nodes):
        output, _ = task.communicate(timeout=300)
        assert task.returncode == 0, output
    assert_same(tmp_path, two)


def signal_after_the_first_epoch(tasks, signum, whom):
    for line in tasks[0].stdout:
        if line.startswith("epoch   1"):
            for task in whom(tasks):
                os.killpg(task.pid, signum)
            return
    pytest.fail("the run ended before its first epoch")


@pytest.mark.parametrize("whom", [lambda tasks: tasks, lambda tasks: tasks[1:]], ids=["all", "the second"])
def test_a_requeued_slurm_job_resumes_exactly(two, tmp_path, whom):
    """SIGUSR1 before the time limit: the run saves, all exit with 138, and the requeued job resumes exactly."""
    tasks = srun(tmp_path, [*ONE_EACH, "checkpoint=auto"], 2)
    signal_after_the_first_epoch(tasks, signal.SIGUSR1, whom)
    outputs = [task.communicate(timeout=120)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [138, 138], outputs
    assert "".join(outputs).count("SIGUSR1 at step") == 1
    for task in srun(tmp_path, [*ONE_EACH, "checkpoint=auto"], 2):
        output, _ = task.communicate(timeout=300)
        assert task.returncode == 0, output
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


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


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


FAILING = """
import os, sys
from segnet.errors import DataError
from segnet.training.task import SegmentationTask
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
def test_the_end_of_one_process_ends_both(tmp_path, rank, how):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    process = segnet(["train", *TWO], tmp_path, str(script), environment={"FAILING": str(rank), "HOW": how}, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    if how == "error":
        assert "segnet: error: b.png: is damaged" in output
    assert_nobody_left(process, output)


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


@pytest.mark.parametrize("how", ["error", "kill"])
def test_the_end_of_one_process_ends_all_under_slurm_and_torchrun(tmp_path, how):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    failing = {"FAILING": "1", "HOW": how}
    tasks = srun(tmp_path, ONE_EACH, 2, str(script), "train", environment=failing)
    outputs = [task.communicate(timeout=120)[0] for task in tasks]
    assert all(task.returncode != 0 for task in tasks), outputs
    assert "another process of this run ended" in outputs[0]
    assert (tasks[1].returncode, "b.png: is damaged" in outputs[1]) == ((3, True) if how == "error" else (-9, False))
    launcher = torchrun(free_port(), "--nproc-per-node=2")
    process = segnet(["train", *TWO], tmp_path, *launcher, str(script), environment=failing, wait=False)
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert_nobody_left(process, output)


def test_fewer_val_images_than_processes_are_refused(tmp_path):
    code, output = segnet([*TWO, "dataset.num_val=1"], tmp_path)
    assert code == 3
    assert "the val split has 1 image, fewer than the 2 processes" in output


@pytest.mark.parametrize("launcher", ["segnet", "torchrun"])
@pytest.mark.parametrize("option", ["trainer.sync_batchnorm=true", "norm.name=sync_batch"])
def test_sync_batch_norm_on_two_cpus_ends_in_one_line(tmp_path, launcher, option):
    """torch synchronizes batch norms on GPUs only: no process may get as far as its error."""
    command = torchrun(free_port(), "--nproc-per-node=2") if launcher == "torchrun" else ()
    arguments = ["-m", "segnet", "train"] if launcher == "torchrun" else []
    code, output = segnet([*arguments, *TWO, option], tmp_path, *command)
    assert "synchronized batch norm in several processes needs GPUs: use norm.name=group" in output
    assert "segnet/" not in output  # no stack trace with a line of ours; torchrun reports a failure with its own
    assert list(tmp_path.rglob("*.ckpt")) == []
    if launcher == "segnet":
        assert code == 2


def test_a_sweep_over_two_processes_is_refused(tmp_path):
    code, output = segnet([*TWO, "--multirun", "seed=1,2"], tmp_path)
    assert code == 2
    assert "leave out --multirun" in output


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


FAKE_SRUN = """#!{python}
import os, signal, subprocess, sys
command = [word for word in sys.argv[1:] if word != "--kill-on-bad-exit=1"]
each, nodes = int(os.environ["SLURM_NTASKS_PER_NODE"]), int(os.environ["SLURM_NNODES"])
tasks = []
for rank in range(each * nodes):
    places = dict(SLURM_PROCID=rank, SLURM_LOCALID=rank % each, SLURM_NODEID=rank // each, SLURM_NTASKS=each * nodes)
    tasks.append(subprocess.Popen(command, env=os.environ | {{key: str(value) for key, value in places.items()}}))
signal.signal(signal.SIGUSR1, lambda *_: [task.send_signal(signal.SIGUSR1) for task in tasks])
sys.exit(max(task.wait() for task in tasks))
"""


def test_the_job_file_requeues_after_a_signal_and_resumes(two, tmp_path):
    """docs/slurm.sh with stand-ins for srun and scontrol."""
    programs = {
        "bin/srun": FAKE_SRUN.format(python=sys.executable),
        "bin/scontrol": '#!/bin/sh\necho "scontrol $@"\n',
        ".venv/bin/python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
    }
    for name, text in programs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    job = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "segnet",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "localhost",
        "SLURM_CPUS_PER_TASK": "1",
        "MASTER_PORT": str(free_port()),
    }

    def start():
        return subprocess.Popen(
            ["bash", str(ROOT / "docs" / "slurm.sh"), *ONE_EACH],
            cwd=tmp_path,
            env={**ENVIRONMENT, **job},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    process = start()
    for line in process.stdout:
        if line.startswith("epoch   1"):
            [srun] = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
            os.kill(int(srun), signal.SIGUSR1)
            break
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 138, output
    assert "scontrol requeue 4711" in output
    process = start()
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "resuming from" in output
    assert "scontrol" not in output
    (run,) = (tmp_path / "runs" / "job_4711").iterdir()
    expected = read_checkpoint(the_run(two) / "last.ckpt")["state_dict"]
    found = read_checkpoint(run / "last.ckpt")["state_dict"]
    assert all(torch.equal(found[name], expected[name]) for name in expected)
