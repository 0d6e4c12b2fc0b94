"""Who started the processes of a run, and what is refused where they are others than the options say.

That they train as one is in test_two_processes.py.
"""

import subprocess
import sys

import pytest
import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from tiny import CPU

from segnet.errors import ConfigError
from segnet.training.distributed import is_first, launched, require_as_many, require_one_process

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
    """set(variables): as a launcher would; nothing of this machine's own."""
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
        ({**SLURM, **TORCHRUN, "WORLD_SIZE": "8"}, ("torchrun", 8)),  # srun torchrun: it starts the processes
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, ("", 1)),
        ({"SLURM_PROCID": "0", "SLURM_JOB_ID": "3"}, ("", 1)),  # a job without --ntasks
        ({"SLURM_NTASKS": "4", "SLURM_JOB_ID": "3"}, ("", 1)),  # a shell of salloc
    ],
)
def test_the_launcher_is_known_by_its_environment(variables, expected, environment):
    environment(variables)
    assert launched() == expected


@pytest.mark.parametrize(
    ("variables", "first"),
    [({}, True), (TORCHRUN, False), (SLURM, False), ({**TORCHRUN, "RANK": "0"}, True), ({"LOCAL_RANK": "1"}, False)],
)
def test_the_first_process_knows_it_before_any_trainer(variables, first, environment):
    """In a process of its own: Lightning looks once."""
    environment(variables)
    code = "from segnet.training.distributed import is_first; print(is_first())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(first)
    assert is_first()  # this one is alone


@pytest.mark.parametrize(
    ("variables", "options", "message"),
    [
        (TORCHRUN, {}, r"torchrun started 4 processes, but trainer\.devices=1 x trainer\.num_nodes=1 are 1: "),
        (SLURM, {}, r"SLURM started 4 processes, but trainer\.devices=1 x trainer\.num_nodes=1 are 1: "),
        # Lightning would train on one of the two devices, and say nothing.
        (
            {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"},
            {"devices": 2},
            r"SLURM started 1 process, but trainer\.devices=2 x trainer\.num_nodes=1 are 2: .*srun --ntasks-per-node",
        ),
        # It would wait for the other machine until its time is up.
        ({}, {"num_nodes": 2}, r"trainer\.num_nodes=2, but nothing starts the processes of the other machines"),
    ],
)
def test_other_processes_than_were_started_are_refused(variables, options, message, environment):
    environment(variables)
    with pytest.raises(ConfigError, match=message):
        require_as_many(trainer(**options))


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {}),
        ({}, {"devices": 2}),
        (TORCHRUN, {"devices": 2, "num_nodes": 2}),
        (SLURM, {"devices": 2, "num_nodes": 2}),
    ],
)
def test_as_many_as_were_started_are_welcome(variables, options, environment):
    environment(variables)
    require_as_many(trainer(**options))


def test_an_evaluation_takes_one_process():
    require_one_process(trainer())
    with pytest.raises(ConfigError, match=r"so that each image counts once, not in 2: leave out trainer\.devices"):
        require_one_process(trainer(devices=2))
