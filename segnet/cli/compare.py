"""`segnet compare`: differences of IoU between checkpoints on the same images, and which of them are noise."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from segnet.cli.composition import run
from segnet.cli.evaluate import on_dataset_of_run, require_no_launcher, scored
from segnet.cli.output import print_table, say
from segnet.errors import ExitCode, printable
from segnet.verb_config import CompareConfig, EvaluateConfig

if TYPE_CHECKING:
    from segnet.workflows.compare import RecipeComparison
    from segnet.workflows.per_image import ImageCounts

RIGHT = ("first %", "second %", "difference", "95 % interval", "p")  # columns of numbers
COLUMNS = ("class", *RIGHT, "verdict")


def main(arguments: Sequence[str]) -> int:
    """Compare checkpoints; return exit code 0."""
    run("compare", CompareConfig, _compare, arguments)
    return ExitCode.OK


def _compare(config: CompareConfig, output_dir: Path) -> None:
    from segnet.workflows.compare import facts  # late: a wrong option fails before Lightning is imported

    comparison = compared(config, output_dir, say)
    for name, paths in zip(("first", "second"), comparison.sides, strict=True):
        say(f"{name + ':':8s}{', '.join(map(str, paths))}")
    print_table(COLUMNS, rows(comparison), RIGHT)
    for line in facts(comparison):
        say(line)
    say(f"comparison: {output_dir / 'comparison.json'}")


def compared(
    config: CompareConfig, output_dir: Path, report: Callable[[object], None] = lambda line: None
) -> "RecipeComparison":
    """Compare two sides and write comparison.json; checkpoints are evaluated on the dataset of the first one's run.

    Args:
        report: receives a line for each evaluation.

    Raises:
        ConfigError: a launcher started several processes.
        SegnetError: see `segnet.workflows.compare.compare_recipes` and `segnet.workflows.evaluate.evaluate`.
    """
    from segnet.workflows.compare import compare_recipes

    require_no_launcher("compare")
    comparison = compare_recipes(
        config.first,
        config.second,
        _Evaluations(config, output_dir, report),
        block=config.block,
        draws=config.draws,
        seed=config.seed,
    )
    comparison.write(output_dir / "comparison.json")
    return comparison


class _Evaluations:
    """Evaluates checkpoints on one dataset: the configured one, or that of the first checkpoint's run.

    The counts of each are stored in the run folder as per_image_1.json, ..., so that they need not be computed again.
    """

    def __init__(self, config: CompareConfig, output_dir: Path, report: Callable[[object], None]) -> None:
        from segnet.images.little_range import LittleRange

        self._config, self._folder, self._report, self._count = config, output_dir, report, 0
        self._dataset = config.dataset
        self._little_range = LittleRange(None)  # one for all: it warns once

    def __call__(self, checkpoint: Path) -> "ImageCounts":
        config = self._config
        options = EvaluateConfig(
            checkpoint=str(checkpoint),
            dataset=self._dataset,
            split=config.split,
            data=config.data,
            trainer=config.trainer,
            flip=config.flip,
            scales=config.scales,
            window=config.window,
            overlap=config.overlap,
        )
        if "name" not in self._dataset:
            options = on_dataset_of_run(options)
            self._dataset = options.dataset
            words = (f"{key}={value}" for key, value in options.dataset.items() if value is not None)
            self._report(f"dataset of {checkpoint}: {' '.join(words)}")
        results = scored(options, little_range=self._little_range)
        self._count += 1
        path = self._folder / f"per_image_{self._count}.json"
        results.write_images(path)
        self._report(f"counts of each image of {checkpoint}: {path}")
        return results.images


def rows(comparison: "RecipeComparison") -> list[list[str]]:
    """Return the cells of the table: a row per class, then mIoU; percentages with one decimal."""
    found = comparison.differences
    columns = (found.first, found.second, found.difference, found.low, found.high, found.p)
    cells = []
    for name, *values, verdict in zip((*comparison.classes, "mIoU"), *columns, comparison.verdicts, strict=True):
        first, second, difference, low, high, p = (float(value) for value in values)
        interval = "n/a" if low != low else f"{100 * low:+.1f} to {100 * high:+.1f}"
        scores = ["n/a" if score != score else f"{100 * score:.1f}" for score in (first, second)]
        points = "n/a" if difference != difference else f"{100 * difference:+.1f}"
        chance = "n/a" if p != p else f"{p:.3f}" if p >= 0.001 else "<0.001"
        cells.append([printable(name), *scores, points, interval, chance, verdict])
    return cells
