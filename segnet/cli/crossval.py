"""`segnet crossval`: train a model per fold -> scores of held-out images, their masks, a report."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.errors import ExitCode
from segnet.verb_config import CrossvalConfig

if TYPE_CHECKING:
    from segnet.workflows.crossval_report import CrossvalScores


def main(arguments: Sequence[str]) -> int:
    """Run a cross-validation; return exit code 0."""
    run("crossval", CrossvalConfig, _crossval, arguments)
    return ExitCode.OK


def _crossval(config: CrossvalConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_crossval  # late: a wrong option fails before Lightning is imported
    from segnet.system.machine import process_age

    folder, scores = cross_validated(config, output_dir, process_age())
    print_crossval(scores)
    say(f"held-out masks: {folder / 'masks'}")
    say(f"report: {folder / 'report.html'}")
    checkpoints = " ".join(str(fold.folder / fold.checkpoint) for fold in scores.folds)
    say(f"next: segnet predict IMAGES --checkpoint {checkpoints}")


def cross_validated(config: CrossvalConfig, output_dir: Path, elapsed: float = 0.0) -> "tuple[Path, CrossvalScores]":
    """Run or resume a cross-validation, and write crossval.json and report.html.

    Args:
        config, output_dir, elapsed: see `segnet.workflows.crossval.crossval`, also for its errors.

    Returns:
        Its folder and scores.
    """
    from segnet.models.checkpoint import load_checkpoint
    from segnet.workflows.crossval import crossval
    from segnet.workflows.crossval_report import CrossvalScores, write_crossval_report

    folder, folds = crossval(config, output_dir, elapsed)
    _, classes = load_checkpoint(folds[0].folder / folds[0].checkpoint)
    scores = CrossvalScores.of(folds, classes)
    write_crossval_report(folder, scores)
    return folder, scores
