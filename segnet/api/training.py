"""`segnet.train` and `segnet.crossval`."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from segnet.api.calls import configured, made_folder, notebook_bundle
from segnet.cli.calls import dotted
from segnet.cli.repeating import overrides_of_call, write_command
from segnet.cli.tables import crossval_table, scores_table
from segnet.cli.train import with_named_backbone
from segnet.config import Config
from segnet.inference.ensemble import StrPath
from segnet.system.signals import handlers_restored
from segnet.training.metrics import percent
from segnet.verb_config import CrossvalConfig
from segnet.workflows.crossval_report import CrossvalScores
from segnet.workflows.evaluate import Results


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """The result of a training.

    Attributes:
        folder: the run folder: config.yaml, best.ckpt, last.ckpt, metrics.csv, results.json, report.html, ...
        results: scores of the best checkpoint on the val split. With several processes, None in all but rank zero.
    """

    folder: Path
    results: Results | None

    @property
    def checkpoint(self) -> Path:
        """The best checkpoint, for `segnet.Predictor`, `segnet.evaluate` and `segnet.export`."""
        return self.results.checkpoint if self.results else self.folder / "best.ckpt"

    @property
    def miou(self) -> float:
        """Mean IoU of the best checkpoint on the val split, 0-1; NaN without results."""
        return self.results.scores.miou if self.results else float("nan")

    def __repr__(self) -> str:
        return f"Run(folder={str(self.folder)!r}, mIoU {percent(self.miou)})"

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        return notebook_bundle(self, scores_table(self.results) if self.results else None)


@dataclass(frozen=True, slots=True, repr=False)
class CrossValidation:
    """The result of a cross-validation.

    Attributes:
        folder: its folder: crossval.json, report.html, masks/, and a run folder for each fold.
        scores: `scores.pooled` has the scores of all held-out images together, `scores.miou` and `scores.iou` mean and
            standard deviation over the folds, and `scores.folds` the folds.
    """

    folder: Path
    scores: CrossvalScores

    @property
    def checkpoints(self) -> list[Path]:
        """The best checkpoint of each fold: `segnet.Predictor` averages their probabilities."""
        return [fold.folder / fold.checkpoint for fold in self.scores.folds]

    @property
    def miou(self) -> float:
        """Mean IoU of all held-out images together, 0-1."""
        return self.scores.pooled.miou

    def __repr__(self) -> str:
        return f"CrossValidation(folder={str(self.folder)!r}, pooled mIoU {percent(self.miou)})"

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        return notebook_bundle(self, crossval_table(self.scores))


def train(*options: str | Config, output_dir: StrPath | None = None, **values: Any) -> Run:
    """Train a model and evaluate its best checkpoint on the val split, as `segnet train` does.

    Args:
        *options: "name=value", as on the command line; or one `Config`.
        output_dir: the run folder; None: runs/DATE_DATASET_BACKBONE. A resumed run stays in its own folder.
        **values: options as keywords; two underscores stand for the dot.

    Raises:
        SegnetError: an option, a file or the machine does not allow it.
        Interrupted: a signal, such as Ctrl-C, ended the run; last.ckpt is up to date.
    """
    from segnet.workflows.train import train as run

    config, folder = configured("train", Config, options, values, output_dir)
    words = [option for option in options if isinstance(option, str)]
    config = with_named_backbone(config, [*words, *map(dotted, values)])
    with made_folder(folder), handlers_restored():
        results = run(config, folder)
        if results and config.budget and (overrides := overrides_of_call(options, values, config)) is not None:
            write_command(overrides, results.checkpoint.parent)
    return Run(results.checkpoint.parent if results else folder, results)


def crossval(*options: str | Config, output_dir: StrPath | None = None, **values: Any) -> CrossValidation:
    """Train a model for each fold and predict the fold's images, as `segnet crossval` does.

    Args:
        *options: "name=value", as on the command line; or one configuration. All options of a training count.
        output_dir: the folder; None: a new one under runs/. A resumed cross-validation stays in its own folder.
        **values: options as keywords: folds, splits, group, save_probabilities, and those of a training.

    Raises:
        SegnetError: an option, a file or the machine does not allow it.
        Interrupted: a signal, such as Ctrl-C, ended it; checkpoint="auto" resumes it.
    """
    from segnet.cli.crossval import cross_validated

    if options and isinstance(options[0], Config) and not isinstance(options[0], CrossvalConfig):
        given, plain = options[0], Config()
        names = [option.name for option in fields(Config)]
        changed = {name: getattr(given, name) for name in names if getattr(given, name) != getattr(plain, name)}
        options = (CrossvalConfig(**changed), *options[1:])  # defaults such as calibrate are crossval's own
    config, folder = configured("crossval", CrossvalConfig, options, values, output_dir)
    with made_folder(folder), handlers_restored():
        return CrossValidation(*cross_validated(config, folder))
