"""The functions of the public API: `segnet.train`, `segnet.evaluate`, `segnet.inspect` and `segnet.export`.

They match the verbs of the command line, with the same options, defaults and run folders. Options are given as

* strings, as on the command line: ``segnet.train("dataset=folder", "dataset.root=photos")``;
* keywords with two underscores for the dot: ``segnet.train(dataset="folder", dataset__root="photos")``;
* a `Config`, and keywords for changes: ``segnet.train(config, optim__lr=0.02)``.

Strings and keywords can be combined; keywords take precedence. User errors are subclasses of
`segnet.errors.SegnetError`.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table
from rich.text import Text

from segnet.cli.arguments import python_names
from segnet.cli.calls import changed_config, composed_call, dotted
from segnet.cli.evaluate import evaluated
from segnet.cli.repeating import overrides_of_call, write_command
from segnet.cli.tables import report_table, scores_table
from segnet.cli.train import with_named_backbone
from segnet.cli.values_table import values_table
from segnet.config import Config, LoaderConfig
from segnet.data.scan.report import DatasetReport
from segnet.data.scan.values_report import ValuesReport
from segnet.errors import ConfigError, MachineError
from segnet.inference.ensemble import StrPath
from segnet.models.metadata import Metadata
from segnet.system.files import removing_if_empty
from segnet.system.signals import handlers_restored
from segnet.training.metrics import percent
from segnet.verb_config import EvaluateConfig, InspectConfig
from segnet.workflows.evaluate import Results, device_options

T = TypeVar("T")


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
        return _bundle(self, scores_table(self.results) if self.results else None)


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
        return _bundle(self, scores_table(self.results))


@dataclass(frozen=True, slots=True)
class Inspection:
    """A dataset that was inspected.

    Attributes:
        folder: the run folder, with inspection.json and contact_sheet.png.
        report: `report.errors` and `report.warnings` are lists of messages; `report.require_sound()` raises the first
            error. Without class names, `report.readings` has the ways to read the masks.
    """

    folder: Path
    report: DatasetReport | ValuesReport = field(repr=False)

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, str]:
        if isinstance(self.report, ValuesReport):
            return _bundle(self, values_table(self.report))
        return _bundle(self, report_table(self.report))


@dataclass(frozen=True, slots=True)
class Exported:
    """An exported model.

    Attributes:
        path: the file, or the folder of format safetensors.
        metadata: metadata stored in the file: classes, channels, output.
        comparisons: one line per image size at which export and checkpoint were compared, and for `int8`.
    """

    path: Path
    metadata: Metadata = field(repr=False)
    comparisons: tuple[str, ...]


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

    config, folder = _configured("train", Config, options, values, output_dir)
    words = [option for option in options if isinstance(option, str)]
    config = with_named_backbone(config, [*words, *map(dotted, values)])
    with _run_folder(folder), handlers_restored():
        results = run(config, folder)
        if results and config.budget and (overrides := overrides_of_call(options, values, config)) is not None:
            write_command(overrides, results.checkpoint.parent)
    return Run(results.checkpoint.parent if results else folder, results)


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
        given = options[0]
        trainer = {"accelerator": "auto", **device_options(given.trainer)}
        loading = LoaderConfig(num_workers=given.data.num_workers, timeout=given.data.timeout)
        options = (EvaluateConfig(dataset=given.dataset, data=loading, trainer=trainer), *options[1:])
        if "checkpoint" not in values:
            raise ConfigError("evaluate: name the checkpoint, as segnet.evaluate(config, checkpoint='best.ckpt')")
    config, folder = _configured("evaluate", EvaluateConfig, options, values, output_dir)
    with _run_folder(folder):
        return Evaluation(folder, evaluated(config, folder))


def inspect(*options: str | Config | InspectConfig, output_dir: StrPath | None = None, **values: Any) -> Inspection:
    """Read every file of a dataset and report its problems, like `segnet inspect`.

    Args:
        *options: "name=value", as on the command line; or one configuration. Of a training's `Config` the dataset, its
            augmentation and the seed count.
        output_dir: where inspection.json and contact_sheet.png are written; None: runs/DATE_inspect.
        **values: options as keywords: dataset, splits, num_images, ...

    Returns:
        The report. Unlike on the command line, unusable files raise no error: see `report.errors`.

    Raises:
        SegnetError: an option does not allow it, or a split cannot be put together.
    """
    from segnet.workflows.inspect import inspect as run
    from segnet.workflows.inspect_values import has_no_names, inspect_values

    if options and isinstance(options[0], Config):
        given = options[0]
        options = (InspectConfig(dataset=given.dataset, data=given.data, seed=given.seed), *options[1:])
    config, folder = _configured("inspect", InspectConfig, options, values, output_dir)
    with _run_folder(folder):
        if has_no_names(config):
            return Inspection(folder, inspect_values(config, folder)[0])
        return Inspection(folder, run(config, folder))


def export(
    checkpoint: StrPath,
    format: str = "onnx",
    output: StrPath | None = None,
    *,
    output_kind: str = "logits",
    int8: bool = False,
    calibrate: StrPath | None = None,
    dataset: str | None = None,
    calibration_images: int = 64,
    overwrite: bool = False,
) -> Exported:
    """Export a checkpoint to another runtime, like `segnet export`.

    The export is verified in its runtime: it is kept only if its outputs match those of the checkpoint.

    Args:
        checkpoint: path of a segnet checkpoint.
        format: "onnx", "openvino", "pt2" or "safetensors".
        output: path to write; None: next to the checkpoint.
        output_kind: "logits", or "classes" for class ids.
        int8: whether to quantize weights and activations to 8 bits (onnx, openvino); needs `calibrate`.
        calibrate: root of a dataset for int8: train gives the value ranges, val the mIoU.
        dataset: layout of `calibrate`; None: folder.
        calibration_images: number of calibration images.
        overwrite: whether to replace an existing file.

    Raises:
        ConfigError: incompatible options, or the output exists.
        CheckpointError: the checkpoint cannot be used, or the outputs of the export differ.
        MachineError: a package is not installed, or the file cannot be written.
    """
    from segnet.cli.export import ONE_MODEL, build_parser, exported, output_path

    if not isinstance(checkpoint, str | os.PathLike):
        raise ConfigError(f"export: checkpoint={checkpoint!r}: {ONE_MODEL}")
    words = [f"--format={format}", f"--output-kind={output_kind}", f"--calibration-images={calibration_images}"]
    words += [f"--{name}" for name, wanted in (("int8", int8), ("overwrite", overwrite)) if wanted]
    for name, value in (("output", output), ("calibrate", calibrate), ("dataset", dataset)):
        if value is not None:
            words.append(f"--{name}={os.fspath(value)}")
    comparisons: list[str] = []
    source = Path(os.path.expanduser(checkpoint))
    with python_names():
        options = build_parser().parse_args(words)
        path = output_path(options, source)
        metadata = exported(options, source, path, lambda line: comparisons.append(str(line)))
    return Exported(path, metadata, tuple(comparisons))


def _configured(
    verb: str, schema: type[T], options: tuple[Any, ...], values: dict[str, Any], output_dir: StrPath | None
) -> tuple[T, Path]:
    """The configuration of a call, and its run folder."""
    folder = None if output_dir is None else Path(os.path.expanduser(output_dir))
    if not options or not isinstance(options[0], schema):
        return composed_call(verb, schema, options, values, folder)
    if len(options) > 1:
        raise ConfigError(f"{options[1]}: options after a configuration must be keywords, such as optim__lr=0.02")
    sections = {name: getattr(options[0], name, {}) for name in ("dataset", "backbone")}
    choices = {name: str(section.get("name", "")) for name, section in sections.items() if isinstance(section, dict)}
    return changed_config(verb, options[0], values, folder, choices)


@contextlib.contextmanager
def _run_folder(folder: Path) -> Iterator[None]:
    """Create the run folder; at the end remove it if nothing was written.

    Raises:
        MachineError: it cannot be created.
    """
    with removing_if_empty(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"{folder}: the run folder cannot be created ({error.strerror})"
            raise MachineError(f"{reason}: choose another output_dir") from None
        yield


def _bundle(result: object, table: Table | None) -> dict[str, str]:
    """The representation in a notebook: the table, with the result in one line below."""
    if table is None:
        return {"text/plain": repr(result)}
    table.caption = Text(repr(result))
    return dict(table._repr_mimebundle_([], []))
