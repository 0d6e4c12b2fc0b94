"""The default checkpoint of a command."""

from pathlib import Path

from segnet.errors import CheckpointError

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
