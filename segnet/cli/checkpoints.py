"""The checkpoints of a command: those named, or the newest run's."""

from collections.abc import Sequence
from pathlib import Path

from segnet.errors import CheckpointError
from segnet.published.zoo import find_model

RUNS = Path("runs")


def newest_checkpoint(runs: Path) -> Path:
    """The newest best.ckpt under `runs`.

    Raises:
        CheckpointError: there is none.
    """
    found = sorted(runs.glob("**/best.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"no checkpoint: {runs.absolute()} contains no best.ckpt. Train one with 'python train.py', "
            "or set --checkpoint FILE"
        )
    return found[-1]


def found_checkpoints(named: Sequence[str]) -> list[Path]:
    """The paths of the named checkpoints; without a name, the newest one under runs/.

    Raises:
        CheckpointError: there is none, or a published model of a name is damaged or unknown.
        MachineError: a published model cannot be downloaded.
    """
    return [find_model(name) for name in named] or [newest_checkpoint(RUNS)]
