"""The checkpoint of a command that names none."""

from pathlib import Path

from segnet.errors import CheckpointError

RUNS = Path("runs")


def newest_checkpoint(runs: Path) -> Path:
    """The best.ckpt below `runs` that was written last.

    Raises:
        CheckpointError: there is none.
    """
    found = sorted(runs.glob("**/best.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise CheckpointError(
            f"no checkpoint: {runs.absolute()} holds no best.ckpt. Train one with 'python train.py', "
            "or name one with --checkpoint FILE"
        )
    return found[-1]
