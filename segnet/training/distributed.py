"""Distributed training: launcher detection, world size checks and collective operations.

torchrun and SLURM's srun start every process of a run, on one machine or on several. Without a launcher, rank zero
starts the processes of the machine's other devices through Lightning. It cannot start processes on other machines.
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

CHECKPOINT_VARIABLE = "SEGNET_CHECKPOINT"  # passes the checkpoint's path to the processes that Lightning starts
# Lightning sets these for the processes it starts. If they are set already, it assumes an external launcher.
LAUNCH_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK", CHECKPOINT_VARIABLE)


@contextlib.contextmanager
def launch_environment_restored() -> Iterator[None]:
    """Restore the environment variables that a distributed run sets; the next run would wait for a launcher."""
    before = {name: os.environ.get(name) for name in LAUNCH_VARIABLES}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def is_rank_zero() -> bool:
    """Return True in the process of rank zero, from environment variables alone: no Trainer is needed."""
    return bool(rank_zero_only.rank == 0)  # type: ignore[attr-defined]  # Lightning sets it so


def detect_launcher() -> tuple[str, int]:
    """Return the launcher's name and its world size; ("", 1) without a launcher.

    Lightning expects no srun in a SLURM job named bash or interactive.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun", int(os.environ["WORLD_SIZE"])
    interactive = os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive")
    if {"SLURM_NTASKS", "SLURM_PROCID"} <= os.environ.keys() and not interactive:
        return "SLURM", int(os.environ["SLURM_NTASKS"])
    return "", 1


def require_world_size(trainer: pl.Trainer) -> None:
    """Check that the launcher's world size is devices x num_nodes.

    With another number the processes would train separately, or wait for each other forever.

    Raises:
        ConfigError: the numbers differ, or nothing starts the processes of other machines.
    """
    launcher, count = detect_launcher()
    devices, nodes = trainer.num_devices, trainer.num_nodes
    if launcher and count != devices * nodes:
        raise ConfigError(
            f"{launcher} started {count} process{'' if count == 1 else 'es'}, but trainer.devices={devices} x "
            f"trainer.num_nodes={nodes} is {devices * nodes}: set trainer.devices to the processes per machine "
            "(torchrun --nproc_per_node, srun --ntasks-per-node) and trainer.num_nodes to the machines"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if nodes > 1 and isinstance(environment, LightningEnvironment):
        raise ConfigError(
            f"trainer.num_nodes={nodes}, but nothing starts the processes of the other machines: use "
            "torchrun or srun, as docs/slurm.sh does"
        )


def require_one_process(trainer: pl.Trainer) -> None:
    """Check that an evaluation runs in one process.

    Raises:
        ConfigError: the world size is above 1.
    """
    if trainer.world_size > 1:
        raise ConfigError(
            f"an evaluation counts each image once, so it runs in one process, not in {trainer.world_size}: leave "
            "out trainer.devices and trainer.num_nodes"
        )


def broadcast_checkpoint(trainer: pl.Trainer, checkpoint: Path | None) -> Path | None:
    """Broadcast the checkpoint's path from rank zero to all processes."""
    if trainer.world_size == 1:
        return checkpoint
    if not is_rank_zero() and CHECKPOINT_VARIABLE in os.environ:  # Lightning started this process
        path = os.environ[CHECKPOINT_VARIABLE]
        return Path(path) if path else None
    assert isinstance(trainer.strategy, ParallelStrategy)
    assert trainer.strategy.cluster_environment is not None
    if trainer.strategy.cluster_environment.creates_processes_externally:  # torchrun, SLURM: all processes run already
        trainer.strategy.setup_environment()
        return trainer.strategy.broadcast(checkpoint)
    os.environ[CHECKPOINT_VARIABLE] = str(checkpoint or "")
    return checkpoint


def all_reduce_max(trainer: pl.Trainer, values: list[int]) -> list[int]:
    """All-reduce: the maximum of each value over all processes."""
    if trainer.world_size == 1:
        return [int(value) for value in values]
    tensor = torch.tensor(values, dtype=torch.int64, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(tensor, op=torch.distributed.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def all_gather_states(trainer: pl.Trainer, state: Tensor) -> Tensor:
    """All-gather: stack each process's state, uint8 of shape (bytes,), into (world size, bytes)."""
    if trainer.world_size == 1:
        return state[None]
    mine = state.to(trainer.strategy.root_device)
    states = [torch.empty_like(mine) for _ in range(trainer.world_size)]
    torch.distributed.all_gather(states, mine)
    return torch.stack(states).cpu()


def terminate_child_processes(trainer: pl.Trainer, grace: float = 5.0) -> None:
    """Kill the processes that rank zero started for other devices; they would wait for it forever.

    Args:
        grace: time for a process to print its own error and exit [s].
    """
    for child in getattr(trainer.strategy.launcher, "procs", []):
        with contextlib.suppress(Exception):
            child.wait(timeout=grace)
        if child.poll() is None:
            child.kill()
