"""`segnet doubt`: rank images by doubt about their labels -> table, doubt.json, doubt.html."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.composition import run
from segnet.cli.evaluate import dataset_of_checkpoints
from segnet.cli.output import say
from segnet.errors import ExitCode
from segnet.verb_config import DoubtConfig

if TYPE_CHECKING:
    from segnet.classes import Classes
    from segnet.workflows.doubt import Suspect


def main(arguments: Sequence[str]) -> int:
    """Look for label errors; return exit code 0."""
    run("doubt", DoubtConfig, _doubt, arguments)
    return ExitCode.OK


def _doubt(config: DoubtConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_doubt  # late: a wrong option fails before Lightning is imported

    ranked, classes = doubted(config, output_dir)
    print_doubt(ranked, classes)
    say(f"all images: {output_dir / 'doubt.json'}")
    say(f"page: {output_dir / 'doubt.html'}")


def doubted(config: DoubtConfig, output_dir: Path) -> "tuple[list[Suspect], Classes]":
    """Rank images as `segnet.workflows.doubt.doubt`; the dataset defaults to that of the first checkpoint's run."""
    from segnet.workflows.doubt import doubt

    if config.checkpoint is not None and config.crossval is None and "name" not in config.dataset:
        config = replace(config, dataset=dataset_of_checkpoints(config.checkpoint, config.dataset))
    return doubt(config, output_dir)
