"""`segnet average`: the mean weights of several checkpoints -> average.ckpt, and the mIoU of each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.composition import run
from segnet.cli.evaluate import dataset_of_checkpoints, named_checkpoints, require_no_launcher
from segnet.cli.output import print_table, say
from segnet.errors import ExitCode, printable
from segnet.published.zoo import find_model
from segnet.verb_config import AverageConfig

if TYPE_CHECKING:
    from segnet.workflows.average import Average


def main(arguments: Sequence[str]) -> int:
    """Average checkpoints; return exit code 0."""
    run("average", AverageConfig, _average, arguments)
    return ExitCode.OK


def _average(config: AverageConfig, output_dir: Path) -> None:
    from segnet.training.metrics import percent  # late: a wrong option fails before Lightning is imported

    made = average_of(config, output_dir)
    scored = [(str(one.checkpoint), one) for one in made.inputs] + [("average", made.results)]
    rows = [[printable(name), percent(one.scores.miou, "")] for name, one in scored]
    print_table(["checkpoint", f"{config.split} mIoU %"], rows, [f"{config.split} mIoU %"])
    if made.num_images:
        say(f"running statistics of batch norms: estimated from {made.num_images:,} train crops")
    say(f"checkpoint: {made.path}")


def average_of(config: AverageConfig, output_dir: Path) -> "Average":
    """Average checkpoints and write the results; the dataset defaults to that of the first one's run.

    Raises:
        ConfigError: a launcher started several processes.
        SegnetError: see `segnet.workflows.average.average`.
    """
    from segnet.workflows.average import average

    require_no_launcher("average")
    if "name" not in config.dataset:
        config = replace(config, dataset=dataset_of_checkpoints(config.checkpoint, config.dataset))
    return average(config, [find_model(name) for name in named_checkpoints(config.checkpoint)], output_dir)
