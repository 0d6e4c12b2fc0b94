"""`segnet predict` after its options are parsed."""

import argparse
import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from PIL import Image

from segnet.classes import Classes
from segnet.cli.checkpoints import found_checkpoints
from segnet.cli.display import Display
from segnet.errors import ConfigError, ExitCode, Interrupted, MachineError, SegnetError
from segnet.inference.predictor import Predictor
from segnet.inference.segmentation import class_ids
from segnet.prediction import Outcome, OutputSettings, Prediction, Task
from segnet.prediction.folder_files import FolderSettings, check_folder_files, write_folder_files
from segnet.prediction.georeferenced import segment_scene_file
from segnet.prediction.images import segment_images
from segnet.prediction.inputs import Collector, result_names, shard
from segnet.prediction.mixed import mixed_options
from segnet.prediction.outputs import WITHOUT_IGNORED, Style, fitting_kinds, write_shares
from segnet.prediction.records import FOLDER, Records, is_result, remove_stale_files
from segnet.prediction.tool_names import with_tool_names
from segnet.prediction.videos import segment_video
from segnet.system.files import removing_if_empty
from segnet.system.signals import ending_at_once


def predict(options: argparse.Namespace) -> int:
    """Segment the inputs; return exit code 0 if all succeeded, 6 if some failed, 3 if all failed."""
    Image.MAX_IMAGE_PIXELS = options.max_megapixels * 10**6 // 2  # Pillow warns above it, and refuses twice as much
    with ending_at_once("while predicting"), removing_if_empty(Path(options.output) / FOLDER):
        tasks, notes = find_tasks(options)
        with Display(len(tasks), moving=any(task.input.kind in ("video", "camera") for task in tasks)) as display:
            for note in notes:
                display.error(f"segnet: {note}")
            output_dir = require_output_folder(Path(options.output))
            checkpoints = found_checkpoints(options.checkpoint)
            with ThreadPoolExecutor(1) as pool:
                digest = pool.submit(models_digest, checkpoints)
                predictor = Predictor(
                    checkpoints,
                    options.device,
                    runtime=options.runtime,
                    precision=options.precision,
                    flip=options.flip,
                    scales=options.scales,
                    window=options.window,
                    batch_size=options.batch_size,
                    refinement=options.refinement,
                )
            if options.scene:
                predictor.classes.require_one_class("--scene")
            named = ", ".join(map(str, checkpoints))
            settings = _output_settings(options, predictor, named, digest.result())
            display.line(f"checkpoint: {named}")  # last: an error is the only line
            remove_stale_files(output_dir)
            records = Records(output_dir, options.overwrite)
            check_folder_files(records, settings.folder_kinds, predictor.classes, {task.name for task in tasks})
            root, url = Path(os.path.abspath(options.label_studio_root)), options.label_studio_url
            folder = FolderSettings(predictor.classes, root, url)
            tasks = with_tool_names(tasks, settings, folder, records)
            together = [*settings.folder_kinds, *(["csv"] if "csv" in settings.kinds else [])]
            mixed = mixed_options(records, together, settings.job, {task.name for task in tasks})
            for warning in filter(None, [refusal_warning(predictor, settings), mixed]):
                display.error(warning)
            return _work(Prediction(predictor, records, settings), tasks, options, folder, display)


def find_tasks(options: argparse.Namespace) -> tuple[list[Task], list[str]]:
    """The tasks of the command line, and notes about skipped files.

    Raises:
        DataError: a folder, glob or list without any image. ConfigError: incompatible options.
    """
    collector = Collector(is_result)
    if [*options.inputs, *options.list].count("-") > 1:
        raise ConfigError("stdin can be read once only: '-' stands for one image or one list")
    for argument in options.inputs:
        collector.add(argument, options.root)
    for listing in options.list:
        collector.add_list(listing, options.root)
    if not collector.inputs:
        raise ConfigError("predict: no input; add an image, a folder or a --list; see --help")
    names = result_names(collector.inputs)
    tasks = [Task(item, name) for item, name in zip(collector.inputs, names, strict=True)]
    if options.shard:
        tasks = [tasks[place] for place in shard(collector.inputs, options.shard)]
    return tasks, collector.notes


def _output_settings(options: argparse.Namespace, predictor: Predictor, checkpoint: str, digest: str) -> OutputSettings:
    only = chosen_classes(options.classes, predictor.classes)
    # Options that change results: results made with other values are not reused.
    job = {
        "checkpoint": digest,
        "--classes": only and list(only),
        "--simplify": options.simplify,
        "--flip": options.flip,
        "--scales": options.scales,
        "--window": options.window,
        "--runtime": options.runtime,
        "--precision": options.precision,
        **{f"--{name.replace('_', '-')}": value for name, value in options.refinement.to_dict().items()},
    }
    return OutputSettings(
        kinds=fitting_kinds(options.save, predictor.classes),
        frame_kinds=fitting_kinds(options.save_frames, predictor.classes),
        style=Style(only, options.simplify),
        batch_size=options.batch_size,
        private_urls=options.private_urls,
        max_frames=options.max_frames,
        smooth=options.smooth,
        job=job,
        checkpoint=checkpoint,
    )


def refusal_warning(predictor: Predictor, settings: OutputSettings) -> str:
    """What readers of the chosen kinds make of pixels without a class; empty if there are none."""
    chosen = {*settings.kinds, *settings.frame_kinds}
    kinds = [kind for kind in WITHOUT_IGNORED if kind in chosen]
    if not kinds or not predictor.may_refuse:
        return ""
    refuse = predictor.refinement.refuse
    option = f"--refuse {refuse:g}" if refuse else "--threshold for every class"
    return (
        f"segnet: warning: {option}: {', '.join(kinds)} cannot mark pixels as ignored, and refused ones are read as "
        "background: review them, or leave the option out"
    )


def chosen_classes(texts: Sequence[str], classes: Classes) -> tuple[str, ...] | None:
    """The classes of --classes in the model's order; None without the option.

    Raises:
        ConfigError: an unknown class.
    """
    if not texts:
        return None
    names = [name for text in texts for name in ([text] if text in classes.names else text.split(","))]
    try:
        ids = class_ids(classes, [name.strip() for name in names])
    except ConfigError as error:
        raise ConfigError(f"--classes: {error}") from None
    return tuple(classes.names[index] for index in ids)


class _Work:
    """Runs the tasks in order and reports each outcome."""

    def __init__(self, prediction: Prediction, options: argparse.Namespace, display: Display) -> None:
        self._prediction, self._options, self._display = prediction, options, display
        self.num_done = self.num_failed = self.num_without_place = 0

    def run(self, tasks: Sequence[Task]) -> None:
        """Run all tasks.

        Raises:
            MachineError: it would affect all further inputs too. Interrupted: a signal arrived.
        """
        for single, group in groupby(tasks, lambda task: self._options.scene or is_moving(task)):
            if not single:
                segment_images(self._prediction, list(group), self._report)
                continue
            for task in group:
                try:
                    outcome: Outcome | SegnetError = self._single(task)
                except (MachineError, Interrupted):
                    raise
                except SegnetError as error:
                    outcome = error
                self._report(task, outcome)

    def _single(self, task: Task) -> Outcome:
        if self._options.scene:
            return segment_scene_file(self._prediction, task)
        return segment_video(self._prediction, task, self._display.frames)

    def _report(self, task: Task, outcome: Outcome | SegnetError) -> None:
        self.num_done += 1
        if isinstance(outcome, SegnetError):
            self.num_failed += 1
            self._display.error(f"segnet: error: {outcome}")
        else:
            self.num_without_place += outcome.loses_place
            if outcome.warning:
                self._display.error(f"segnet: {task.input.text}: {outcome.warning}")
            self._display.line(f"{task.input.text}{outcome_line(outcome)}")
            if not is_moving(task):
                self._display.image()
        self._display.step()


def _work(
    prediction: Prediction,
    tasks: Sequence[Task],
    options: argparse.Namespace,
    folder: FolderSettings,
    display: Display,
) -> int:
    work = _Work(prediction, options, display)
    try:
        work.run(tasks)
    except Interrupted as stop:
        message = f"{stop}: {work.num_done:,} of {len(tasks):,} inputs are done; run the same command to resume"
        raise Interrupted(stop.exit_code - 128, message) from None
    if work.num_without_place:
        display.error(
            f"segnet: the georeference of {work.num_without_place:,} of {len(tasks):,} inputs is not in the results: "
            "--scene keeps that of GeoTIFFs"
        )
    if "csv" in options.save:
        display.line(f"class shares: {write_shares(prediction.records, prediction.predictor.classes.names)}")
    for path, number in write_folder_files(prediction.records, prediction.settings.folder_kinds, folder):
        display.line(f"{path}: {number:,} {'image' if number == 1 else 'images'}")
    display.end(f"{work.num_done - work.num_failed:,} of {len(tasks):,} inputs -> {options.output}")
    if work.num_failed:
        if len(tasks) > 1:  # the error of a single input says it
            display.error(f"segnet: {work.num_failed:,} of {len(tasks):,} inputs failed")
        return ExitCode.PARTIAL if work.num_failed < len(tasks) else ExitCode.DATA
    return ExitCode.OK


def is_moving(task: Task) -> bool:
    """Whether a task is a video or camera."""
    return task.input.kind in ("video", "camera")


def outcome_line(report: Outcome) -> str:
    """The outcome of an input in one line: its files, each folder once in a row, and class fractions, largest first."""
    if report.done_before:
        return ": done already; --overwrite repeats it"
    named: list[str] = []
    folder = None
    for path in report.files:
        named.append(path.name if path.parent == folder else str(path))
        folder = path.parent
    files = f" -> {', '.join(named)}" if named else ""
    order = sorted((name for name in report.shares if report.shares[name]), key=lambda name: -report.shares[name])
    shares = ", ".join(f"{name} {100 * report.shares[name]:.1f}%" for name in order)
    refused = f"refused {100 * report.refused:.1f}%" if report.refused else ""
    parts = ", ".join(filter(None, [f"{report.frames} frames" if report.frames else "", shares, refused]))
    return f"{files}: {parts}" if parts else files


def require_output_folder(folder: Path) -> Path:
    """Create the output folder before the model is loaded.

    Raises:
        MachineError: it cannot be created or is not writable.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / FOLDER):
            pass
    except OSError as error:
        raise MachineError(f"--output {folder}: cannot be created or written to ({error.strerror})") from None
    return folder


def models_digest(models: Sequence[Path]) -> str:
    """The digest of a model, or those of an ensemble; they depend on the order, as the ids of the classes do."""
    return "+".join(map(model_digest, models))


def model_digest(model: Path) -> str:
    """A digest of a model's content, 16 hex digits; includes the .bin of OpenVINO's .xml and all files of a folder."""
    files = [path for path in sorted(model.rglob("*")) if path.is_file()] if model.is_dir() else [model]
    files += [path for path in [model.with_suffix(".bin")] if model.suffix == ".xml" and path.is_file()]
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
