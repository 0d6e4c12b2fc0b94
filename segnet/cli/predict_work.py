"""What `segnet predict` does once its options are read."""

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from PIL import Image

from segnet.classes import Classes
from segnet.cli.checkpoints import RUNS, newest_checkpoint
from segnet.cli.display import Display
from segnet.errors import ConfigError, ExitCode, Interrupted, MachineError, SegnetError
from segnet.inference.predictor import Predictor
from segnet.inference.segmentation import class_ids
from segnet.prediction import Outcome, OutputSettings, Prediction, Task
from segnet.prediction.georeferenced import segment_scene_file
from segnet.prediction.images import segment_images
from segnet.prediction.inputs import Collector, result_names, shard
from segnet.prediction.outputs import Style, write_shares
from segnet.prediction.records import FOLDER, Records, is_result, remove_stale_files
from segnet.prediction.videos import segment_video
from segnet.system.signals import ending_at_once


def predict(options: argparse.Namespace) -> int:
    """Segment what the options name; returns the exit code: 0, 6 if some inputs failed, 3 if all did."""
    Image.MAX_IMAGE_PIXELS = options.max_megapixels * 10**6 // 2  # Pillow warns there, and refuses twice that
    with ending_at_once("while predicting"):
        tasks, notes = find_tasks(options)
        with Display(len(tasks), moving=any(task.input.kind in ("video", "camera") for task in tasks)) as display:
            for note in notes:
                display.error(f"segnet: {note}")
            output_dir = require_output_folder(Path(options.output))
            checkpoint = Path(options.checkpoint) if options.checkpoint else newest_checkpoint(RUNS)
            with ThreadPoolExecutor(1) as pool:
                digest = pool.submit(model_digest, checkpoint)
                predictor = Predictor(
                    checkpoint,
                    options.device,
                    runtime=options.runtime,
                    precision=options.precision,
                    flip=options.flip,
                    scales=options.scales,
                    window=options.window,
                    batch_size=options.batch_size,
                )
            display.line(f"checkpoint: {checkpoint}")
            settings = _output_settings(options, predictor, str(checkpoint), digest.result())
            remove_stale_files(output_dir)
            prediction = Prediction(predictor, Records(output_dir, options.overwrite), settings)
            return _work(prediction, tasks, options, display)


def find_tasks(options: argparse.Namespace) -> tuple[list[Task], list[str]]:
    """What the arguments name, and what was left out.

    Raises:
        DataError: a folder, glob or list without any image. ConfigError: options that do not go together.
    """
    collector = Collector(is_result)
    if [*options.inputs, *options.list].count("-") > 1:
        raise ConfigError("stdin can be read once only: '-' stands for one image or one list")
    for argument in options.inputs:
        collector.add(argument, options.root)
    for listing in options.list:
        collector.add_list(listing, options.root)
    if not collector.inputs:
        raise ConfigError("predict: name an image, a folder or a --list; see --help")
    names = result_names(collector.inputs)
    tasks = [Task(item, name) for item, name in zip(collector.inputs, names, strict=True)]
    if options.shard:
        tasks = [tasks[place] for place in shard(collector.inputs, options.shard)]
    return tasks, collector.notes


def _output_settings(options: argparse.Namespace, predictor: Predictor, checkpoint: str, digest: str) -> OutputSettings:
    only = chosen_classes(options.classes, predictor.classes)
    # What results depend on, by the options' names: others' results are not taken for this command's.
    job = {
        "checkpoint": digest,
        "--classes": only and list(only),
        "--simplify": options.simplify,
        "--flip": options.flip,
        "--scales": options.scales,
        "--window": options.window,
        "--runtime": options.runtime,
        "--precision": options.precision,
    }
    return OutputSettings(
        kinds=options.save,
        frame_kinds=options.save_frames,
        style=Style(only, options.simplify),
        batch_size=options.batch_size,
        private_urls=options.private_urls,
        max_frames=options.max_frames,
        job=job,
        checkpoint=checkpoint,
    )


def chosen_classes(texts: Sequence[str], classes: Classes) -> tuple[str, ...] | None:
    """The classes that --classes names, in the model's order; None where it is not given.

    Raises:
        ConfigError: a name that is no class.
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
    """Goes through the tasks in their order, and tells what became of each."""

    def __init__(self, prediction: Prediction, options: argparse.Namespace, display: Display) -> None:
        self._prediction, self._options, self._display = prediction, options, display
        self.num_done = self.num_failed = self.num_without_place = 0

    def run(self, tasks: Sequence[Task]) -> None:
        """Raises:
        MachineError: the next input would meet it too. Interrupted: a signal came.
        """
        for single, group in groupby(tasks, lambda task: self._options.scene or is_moving(task)):
            if not single:
                segment_images(self._prediction, list(group), self._tell)
                continue
            for task in group:
                try:
                    outcome: Outcome | SegnetError = self._single(task)
                except (MachineError, Interrupted):
                    raise
                except SegnetError as error:
                    outcome = error
                self._tell(task, outcome)

    def _single(self, task: Task) -> Outcome:
        if self._options.scene:
            return segment_scene_file(self._prediction, task)
        return segment_video(self._prediction, task, self._display.frames)

    def _tell(self, task: Task, outcome: Outcome | SegnetError) -> None:
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


def _work(prediction: Prediction, tasks: Sequence[Task], options: argparse.Namespace, display: Display) -> int:
    work = _Work(prediction, options, display)
    try:
        work.run(tasks)
    except Interrupted as stop:
        message = f"{stop}: {work.num_done} of {len(tasks)} inputs are done; run the same command to resume"
        raise Interrupted(stop.exit_code - 128, message) from None
    if work.num_without_place:
        display.error(
            f"segnet: the georeference of {work.num_without_place} of {len(tasks)} inputs is not in the results: "
            "--scene keeps that of GeoTIFFs"
        )
    if "csv" in options.save:
        display.line(f"class shares: {write_shares(prediction.records, prediction.predictor.classes.names)}")
    display.end(f"{work.num_done - work.num_failed} of {len(tasks)} inputs -> {options.output}")
    if work.num_failed:
        display.error(f"segnet: {work.num_failed} of {len(tasks)} inputs failed")
        return ExitCode.PARTIAL if work.num_failed < len(tasks) else ExitCode.DATA
    return ExitCode.OK


def is_moving(task: Task) -> bool:
    """Whether a task is a video or camera."""
    return task.input.kind in ("video", "camera")


def outcome_line(report: Outcome) -> str:
    """What came of an input, in one line: its files, and the classes that occur, largest share first."""
    if report.done_before:
        return ": done already; --overwrite repeats it"
    first, *others = [str(report.files[0]), *(path.name for path in report.files[1:])] if report.files else [""]
    files = f" -> {', '.join([first, *others])}" if first else ""
    order = sorted((name for name in report.shares if report.shares[name]), key=lambda name: -report.shares[name])
    shares = ", ".join(f"{name} {100 * report.shares[name]:.1f}%" for name in order)
    parts = ", ".join(filter(None, [f"{report.frames} frames" if report.frames else "", shares]))
    return f"{files}: {parts}" if parts else files


def require_output_folder(folder: Path) -> Path:
    """Creates the folder before the model is loaded.

    Raises:
        MachineError: it cannot be a folder, or may not be written to.
    """
    try:
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder / FOLDER):
            pass
    except OSError as error:
        raise MachineError(f"--output {folder}: cannot be created or written to ({error.strerror})") from None
    return folder


def model_digest(model: Path) -> str:
    """What a model file contains, in 16 digits; of OpenVINO's .xml with its weights, of a folder all files."""
    files = [path for path in sorted(model.rglob("*")) if path.is_file()] if model.is_dir() else [model]
    files += [path for path in [model.with_suffix(".bin")] if model.suffix == ".xml" and path.is_file()]
    digest = hashlib.blake2b(digest_size=8)
    for path in files:
        with open(path, "rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()
