"""Two processes that SLURM's srun starts, and the documented job file."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from two_processes import ENVIRONMENT, ONE_EACH, ROOT, assert_same, free_port, srun, the_run

from segnet.models.checkpoint import read_checkpoint

pytestmark = pytest.mark.slow


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
