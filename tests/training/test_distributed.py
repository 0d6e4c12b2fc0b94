"""Launcher detection and world size checks; tests/processes trains with two processes."""

import subprocess
import sys

import pytest
import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tiny import CPU
from warm_python import WARM_PYTHON

from segnet.errors import ConfigError
from segnet.training.distributed import detect_launcher, is_rank_zero, require_one_process, require_world_size

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "GROUP_RANK": "0",
}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_NNODES": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_NODELIST": "node[7-8]",
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "train",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Return a function that sets a launcher's variables; those of this machine are removed."""
    monkeypatch.setattr(rank_zero_only, "rank", rank_zero_only.rank)  # a Trainer sets it
    for name in (*TORCHRUN, *SLURM):
        monkeypatch.delenv(name, raising=False)
    return lambda variables: [monkeypatch.setenv(name, value) for name, value in variables.items()]


def trainer(**options):
    return pl.Trainer(**{**CPU, **options}, logger=False, enable_checkpointing=False, enable_progress_bar=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ("", 1)),
        (TORCHRUN, ("torchrun", 4)),
        (SLURM, ("SLURM", 4)),
        ({**SLURM, **TORCHRUN, "WORLD_SIZE": "8"}, ("torchrun", 8)),  # `srun torchrun`: torchrun starts the processes
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, ("", 1)),
        ({"SLURM_PROCID": "0", "SLURM_JOB_ID": "3"}, ("", 1)),  # a job without --ntasks
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "3"}, ("", 1)),  # a shell of salloc
    ],
)
def test_the_environment_identifies_the_launcher(variables, expected, environment):
    environment(variables)
    assert detect_launcher() == expected


IMPORT_AGAIN = """
import importlib
from lightning_fabric.utilities import rank_zero
del rank_zero.rank_zero_only.rank
importlib.reload(rank_zero)
"""


@pytest.mark.parametrize(
    ("variables", "first"),
    [({}, True), (TORCHRUN, False), (SLURM, False), ({**TORCHRUN, "RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False)],
)
def test_rank_zero_is_known_before_any_trainer(variables, first, environment):
    """Runs in a subprocess, because Lightning reads the environment only once, when it is imported."""
    environment(variables)
    code = "from segnet.training.distributed import is_rank_zero; print(is_rank_zero())"
    command = [sys.executable, "-c", code]
    if variables is not TORCHRUN:  # one import of everything is enough: the others only repeat Lightning's reading
        command = [*WARM_PYTHON, "-c", IMPORT_AGAIN + code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(first)
    assert is_rank_zero()  # this process has no launcher


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        (TORCHRUN, {}, r"torchrun started 4 processes, but trainer\.devices=1 x trainer\.num_nodes=1 is 1: "),
        (SLURM, {}, r"SLURM started 4 processes, but trainer\.devices=1 x trainer\.num_nodes=1 is 1: "),
        # Lightning would train on one of the two devices without a warning.
        (
            {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
            {"devices": 2},
            r"SLURM started 1 process, but trainer\.devices=2 x trainer\.num_nodes=1 is 2: .*srun --ntasks-per-node",
        ),
        # Lightning would wait for the other machine until a timeout.
        ({}, {"num_nodes": 2}, r"trainer\.num_nodes=2, but nothing starts the processes of the other machines"),
    ],
)
def test_a_world_size_other_than_the_launcher_s_is_refused(variables, options, message, environment):
    environment(variables)
    with pytest.raises(ConfigError, match=message):
        require_world_size(trainer(**options))


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {}),
        ({}, {"devices": 2}),
        (TORCHRUN, {"devices": 2, "num_nodes": 2}),
        (SLURM, {"devices": 2, "num_nodes": 2}),
    ],
)
def test_the_launcher_s_world_size_is_accepted(variables, options, environment):
    environment(variables)
    require_world_size(trainer(**options))


def test_an_evaluation_in_two_processes_is_refused():
    require_one_process(trainer())
    with pytest.raises(ConfigError, match=r"so it runs in one process, not in 2: leave out trainer\.devices"):
        require_one_process(trainer(devices=2))
