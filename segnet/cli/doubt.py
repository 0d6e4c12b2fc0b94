"""`segnet doubt`: rank images by doubt about their labels -> table, doubt.json, doubt.html."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.evaluate import dataset_of_checkpoints
from segnet.cli.output import say
from segnet.errors import ExitCode
from segnet.verb_config import DoubtConfig


def main(arguments: Sequence[str]) -> int:
    """Look for label errors; return exit code 0."""
    run("doubt", DoubtConfig, _doubt, arguments)
    return ExitCode.OK


def _doubt(config: DoubtConfig, output_dir: Path) -> None:
    from segnet.cli.tables import print_doubt  # late: a wrong option fails before Lightning is imported
    from segnet.workflows.doubt import doubt

    if config.checkpoint is not None and config.crossval is None and "name" not in config.dataset:
        config = replace(config, dataset=dataset_of_checkpoints(config.checkpoint, config.dataset))
    ranked, classes = doubt(config, output_dir)
    print_doubt(ranked, classes)
    say(f"all images: {output_dir / 'doubt.json'}")
    say(f"page: {output_dir / 'doubt.html'}")
