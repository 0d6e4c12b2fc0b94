"""The processes of a run: who started them, how many they are, and what they agree on.

torchrun and SLURM's srun start every process of a run, on one machine or on several. Without them Lightning starts
those of the machine's other devices out of the first process; it cannot start any on other machines.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import ParallelStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch import Tensor

from segnet.errors import ConfigError

CHECKPOINT_VARIABLE = "SEGNET_CHECKPOINT"  # with it the first process tells those that Lightning starts
# What Lightning sets for the processes that it starts, and takes for those of a launcher when it finds them set.
LAUNCH_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", CHECKPOINT_VARIABLE)


@contextlib.contextmanager
def launch_environment_restored() -> Iterator[None]:
    """Undo what a run of several processes sets in the environment, or the next run would wait for a launcher's."""
    before = {name: os.environ.get(name) for name in LAUNCH_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_first() -> bool:
    """Whether this is the first process of a run; the environment tells it before any Trainer does."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning sets it so


def launched() -> tuple[str, int]:
    """Which launcher started the processes of this run, and how many; ("", 1): none.

    In a SLURM job whose name is bash or interactive, Lightning counts on no srun.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ["WORLD_SIZE"])
    by_hand = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if {"SLURM_NTASKS", "SLURM_PROCID"} <= os.environ.keys() and not by_hand:
        return "SLURM", int(os.environ["SLURM_NTASKS"])
    return "", 1


def require_as_many(trainer: pl.Trainer) -> None:
    """Refuses a Trainer for other processes than there are: each would train on its own, or wait for the others.

    Raises:
        ConfigError: naming both numbers.
    """
    launcher, count = launched()
    devices, nodes = trainer.num_devices, trainer.num_nodes
    if launcher and count != devices * nodes:
        raise ConfigError(
            f"{launcher} started {count} process{'' if count == 1 else 'es'}, but trainer.devices={devices} x "
            f"trainer.num_nodes={nodes} are {devices * nodes}: trainer.devices are the processes of a machine "
            "(torchrun --nproc_per_node, srun --ntasks-per-node), trainer.num_nodes the machines"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if nodes > 1 and isinstance(environment, LightningEnvironment):
        raise ConfigError(
            f"trainer.num_nodes={nodes}, but nothing starts the processes of the other machines: use "
            "torchrun or srun, as docs/slurm.sh does"
        )


def require_one_process(trainer: pl.Trainer) -> None:
    """Refuses an evaluation by several processes.

    Raises:
        ConfigError: naming their number.
    """
    if trainer.world_size > 1:
        raise ConfigError(
            f"an evaluation runs in one process, so that each image counts once, not in {trainer.world_size}: leave "
            "out trainer.devices and trainer.num_nodes"
        )


def agreed_checkpoint(trainer: pl.Trainer, checkpoint: Path | None) -> Path | None:
    """The first process's checkpoint, in all processes of a run."""
    if trainer.world_size == 1:
        return checkpoint
    if not is_first() and CHECKPOINT_VARIABLE in os.environ:  # started by Lightning in the first process
        path = os.environ[CHECKPOINT_VARIABLE]
        return Path(path) if path else None
    assert isinstance(trainer.strategy, ParallelStrategy)
    assert trainer.strategy.cluster_environment is not None
    if trainer.strategy.cluster_environment.creates_processes_externally:  # torchrun, SLURM: all are there already
        trainer.strategy.setup_environment()
        return trainer.strategy.broadcast(checkpoint)
    os.environ[CHECKPOINT_VARIABLE] = str(checkpoint or "")
    return checkpoint


def agreed(trainer: pl.Trainer, values: list[int]) -> list[int]:
    """The largest of each value over all processes."""
    if trainer.world_size == 1:
        return [int(value) for value in values]
    tensor = torch.tensor(values, dtype=torch.int64, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def gathered(trainer: pl.Trainer, state: Tensor) -> Tensor:
    """(processes, bytes) of each process's (bytes)."""
    if trainer.world_size == 1:
        return state[None]
    mine = state.to(trainer.strategy.root_device)
    states = [torch.empty_like(mine) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(states, mine)
    return torch.stack(states).cpu()


def end_children(trainer: pl.Trainer, grace: float = 5.0) -> None:
    """Ends the processes that this one started for other devices: they would wait for it for ever.

    Args:
        grace: time for a message of their own [s].
    """
    for child in getattr(trainer.strategy.launcher, "procs", []):
        with contextlib.suppress(Exception):
            child.wait(timeout=grace)
        if child.poll() is None:
            child.kill()
