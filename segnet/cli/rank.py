"""`segnet rank`: which unlabeled images to label next -> table, rank.json, rank.csv, rank.txt, rank.html."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.composition import run
from segnet.cli.display import Display
from segnet.cli.evaluate import dataset_of_checkpoints, require_no_launcher
from segnet.cli.output import print_table, say
from segnet.errors import ConfigError, ExitCode, SegnetError
from segnet.verb_config import RankConfig

if TYPE_CHECKING:
    from segnet.prediction.inputs import Input
    from segnet.workflows.rank_files import Ranking

log = logging.getLogger(__name__)

MOST_ROWS = 20  # images in the table


def main(arguments: Sequence[str]) -> int:
    """Rank images; return exit code 0, or 6 if some could not be read."""
    codes: list[ExitCode] = []
    run("rank", RankConfig, lambda config, output_dir: codes.append(_rank(config, output_dir)), arguments)
    return max(codes, default=ExitCode.OK)


def _rank(config: RankConfig, output_dir: Path) -> ExitCode:
    ranking = ranked(config, output_dir)
    columns = ["rank", "value", *ranking.images[0].scores, "image"]
    print_table(columns, ranking_rows(ranking), ("rank", "value"))
    others = (
        (ranking.num_left_out, "labeled already"),
        (ranking.num_repeated, "repeated"),
        (len(ranking.failed), "failed"),
    )
    counts = "".join(f", {count:,} {what}" for count, what in others if count)
    say(f"{len(ranking.chosen):,} of {len(ranking.images):,} images chosen by {config.method}{counts}")
    say(f"files to label next: {output_dir / 'rank.txt'}")
    say(f"all images: {output_dir / 'rank.json'}, {output_dir / 'rank.csv'}")
    say(f"page: {output_dir / 'rank.html'}")
    return ExitCode.PARTIAL if ranking.failed else ExitCode.OK


def ranked(config: RankConfig, output_dir: Path) -> "Ranking":
    """Rank images and write the results; the labeled images default to those of the checkpoint's run.

    Raises:
        ConfigError: a launcher started several processes.
        SegnetError: see `segnet.workflows.rank.rank`.
    """
    from segnet.workflows.rank import images_to_rank, rank

    require_no_launcher("rank")
    config = _with_labeled(config)
    inputs, notes = images_to_rank(config.images, config.root)
    with Display(len(inputs)) as display:
        for note in notes:
            display.error(f"segnet: {note}")

        def report(item: "Input", error: SegnetError | None) -> None:
            if error is not None:
                display.error(f"segnet: error: {error}")
            display.image()
            display.step()

        return rank(config, inputs, output_dir, report)


def _with_labeled(config: RankConfig) -> RankConfig:
    """The configuration with the dataset of the run, if it has one and no other is named."""
    if not config.splits or "name" in config.dataset:
        return config
    try:
        return replace(config, dataset=dataset_of_checkpoints(config.checkpoint, config.dataset))
    except ConfigError as error:
        if config.dataset:
            raise
        log.warning("no image counts as labeled: %s", error)
        return config


def ranking_rows(ranking: "Ranking") -> list[list[str]]:
    """Return the cells of the table: the first images to label next."""
    cells = []
    for number, image in enumerate(ranking.images[: min(ranking.number, MOST_ROWS)], 1):
        value = "n/a" if image.value is None else f"{image.value:.4g}"
        cells.append([str(number), value, *(f"{score:.3f}" for score in image.scores.values()), str(image.path)])
    return cells
