"""`segnet.evaluate`, `compare`, `average`, `doubt` and `rank`: the worth of models, labels and images."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segnet.api.calls import configured, evaluation_options, made_folder, notebook_bundle
from segnet.classes import Classes
from segnet.cli.average import average_of
from segnet.cli.compare import COLUMNS, RIGHT, compared, rows
from segnet.cli.doubt import doubted
from segnet.cli.evaluate import evaluated
from segnet.cli.rank import ranked
from segnet.cli.tables import comparison_table, doubt_table, scores_table
from segnet.config import Config
from segnet.errors import ConfigError
from segnet.inference.ensemble import StrPath
from segnet.training.metrics import percent
from segnet.verb_config import AverageConfig, CompareConfig, DoubtConfig, EvaluateConfig, RankConfig
from segnet.workflows.average import Average
from segnet.workflows.compare import RecipeComparison
from segnet.workflows.doubt import Suspect
from segnet.workflows.evaluate import Results
from segnet.workflows.rank_files import Ranking


@dataclass(frozen=True, slots=True, repr=False)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        folder: the run folder, with results.json.
        results: scores, confusion matrix and mIoU of each image.
    """

    folder: Path
    results: Results

    @property
    def miou(self) -> float:
        """Mean IoU, 0-1."""
        return self.results.scores.miou

    def __repr__(self) -> str:
        return f"Evaluation(folder={str(self.folder)!r}, mIoU {percent(self.miou)})"

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        return notebook_bundle(self, scores_table(self.results))


@dataclass(frozen=True, slots=True, repr=False)
class Compared:
    """The result of a comparison.

    Attributes:
        folder: the run folder, with comparison.json.
        comparison: `comparison.differences` has the scores of both sides, intervals and p-values of each class, then of
            mIoU; `comparison.verdicts` a word for each, such as "noise" or "better".
    """

    folder: Path
    comparison: RecipeComparison

    @property
    def difference(self) -> float:
        """Difference of the mIoU, second minus first, as a fraction."""
        return float(self.comparison.differences.difference[-1])

    @property
    def verdict(self) -> str:
        """The verdict on mIoU: "noise", "better", "worse", "higher", "lower" or "n/a"."""
        return self.comparison.verdicts[-1]

    def __repr__(self) -> str:
        return f"Compared(folder={str(self.folder)!r}, mIoU {100 * self.difference:+.1f} points: {self.verdict})"

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        return notebook_bundle(self, comparison_table(COLUMNS, rows(self.comparison), RIGHT))


@dataclass(frozen=True, slots=True, repr=False)
class DoubtRanking:
    """Images ranked by doubt about their labels.

    Attributes:
        folder: the run folder, with doubt.json and doubt.html.
        suspects: all images, most doubt first; each has `name`, `files` and `doubt`, with `doubt.score` and
            `doubt.regions`.
        classes: the classes.
    """

    folder: Path
    suspects: list[Suspect]
    classes: Classes

    def __repr__(self) -> str:
        return f"DoubtRanking(folder={str(self.folder)!r}, {len(self.suspects)} images)"

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        return notebook_bundle(self, doubt_table(self.suspects, self.classes))


def evaluate(*options: str | Config | EvaluateConfig, output_dir: StrPath | None = None, **values: Any) -> Evaluation:
    """Evaluate a checkpoint on a split of a dataset, as `segnet evaluate` does.

    Args:
        *options: "name=value", as on the command line; or one configuration. Of a training's `Config` the dataset, the
            data workers and the device count, and the keyword `checkpoint` is needed.
        output_dir: where results.json is written; None: runs/DATE_evaluate.
        **values: options as keywords: checkpoint, dataset, split, flip, scales, window, ...

    Raises:
        SegnetError: an option, the checkpoint or the data does not allow it.
    """
    if options and isinstance(options[0], Config):
        options = (EvaluateConfig(**evaluation_options(options[0])), *options[1:])
        if "checkpoint" not in values:
            raise ConfigError("evaluate: name the checkpoint, as segnet.evaluate(config, checkpoint='best.ckpt')")
    config, folder = configured("evaluate", EvaluateConfig, options, values, output_dir)
    with made_folder(folder):
        return Evaluation(folder, evaluated(config, folder))


def compare(*options: str | Config | CompareConfig, output_dir: StrPath | None = None, **values: Any) -> Compared:
    """Compare checkpoints on the same images, as `segnet compare` does: which differences of IoU are noise?

    Args:
        *options: two checkpoints, or "name=value", as on the command line; or one configuration. Of a training's
            `Config` the dataset, the data workers and the device count.
        output_dir: where comparison.json is written; None: runs/DATE_compare.
        **values: options as keywords. first, second: a checkpoint, run folder or name of a published model each, or a
            list of one recipe's seeds; dataset, split, block, draws, ...

    Raises:
        SegnetError: an option, a checkpoint or the data does not allow it.
    """
    if options and isinstance(options[0], Config):
        options = (CompareConfig(**evaluation_options(options[0])), *options[1:])
    for side in ("first", "second"):
        if isinstance(values.get(side), str | os.PathLike):
            values[side] = [values[side]]
    config, folder = configured("compare", CompareConfig, options, values, output_dir)
    with made_folder(folder):
        return Compared(folder, compared(config, folder))


def average(*options: str | AverageConfig, output_dir: StrPath | None = None, **values: Any) -> Average:
    """Average the weights of several checkpoints of one model, as `segnet average` does.

    Args:
        *options: "name=value", as on the command line; or one configuration.
        output_dir: where average.ckpt and results.json are written; None: runs/DATE_average.
        **values: options as keywords: checkpoint (a list of files), dataset, split, num_images, ...

    Returns:
        The path of the average, its scores, and those of each checkpoint.

    Raises:
        SegnetError: a checkpoint, the data or an option does not allow it.
    """
    config, folder = configured("average", AverageConfig, options, values, output_dir)
    with made_folder(folder):
        return average_of(config, folder)


def doubt(*options: str | Config | DoubtConfig, output_dir: StrPath | None = None, **values: Any) -> DoubtRanking:
    """Rank images by doubt about their labels, as `segnet doubt` does.

    Args:
        *options: "name=value", as on the command line; or one configuration. Of a training's `Config` only the dataset
            counts.
        output_dir: where doubt.json and doubt.html are written; None: runs/DATE_doubt.
        **values: options as keywords: crossval, a folder of `segnet.crossval`; or checkpoint and split; num_images, ...

    Raises:
        SegnetError: an option, a file or the machine does not allow it.
    """
    if options and isinstance(options[0], Config):
        options = (DoubtConfig(dataset=options[0].dataset), *options[1:])
    config, folder = configured("doubt", DoubtConfig, options, values, output_dir)
    with made_folder(folder):
        return DoubtRanking(folder, *doubted(config, folder))


def rank(*options: str | Config | RankConfig, output_dir: StrPath | None = None, **values: Any) -> Ranking:
    """Rank unlabeled images, those to label next at the top, as `segnet rank` does.

    Args:
        *options: "name=value", as on the command line; or one configuration. Of a training's `Config` only the dataset
            counts, that of the labeled images.
        output_dir: where rank.json, rank.csv, rank.txt and rank.html are written; None: runs/DATE_rank.
        **values: options as keywords: images (folders, globs and files), checkpoint, number, method, ...

    Returns:
        The ranking: `chosen` has the paths of the images to label next, `failed` the files that cannot be read.

    Raises:
        SegnetError: an option, a file or the machine does not allow it.
    """
    if options and isinstance(options[0], Config):
        options = (RankConfig(dataset=options[0].dataset), *options[1:])
    config, folder = configured("rank", RankConfig, options, values, output_dir)
    with made_folder(folder):
        return ranked(config, folder)
