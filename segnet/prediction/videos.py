"""Videos and cameras: an overlay video, and further results for each frame."""

import contextlib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from segnet.errors import DataError, Interrupted, SegnetError
from segnet.images.convert import as_bands
from segnet.images.values import Bands
from segnet.images.video import Frames, VideoWriter
from segnet.inference.annotations.cvat import CVATArchive
from segnet.inference.segmentation import Segmentation
from segnet.inference.smoothing import Smoothing
from segnet.prediction import DONE_BEFORE, PIXELS_IN_WORK, Outcome, Prediction, Task
from segnet.prediction.folder_files import frame_file
from segnet.system.files import replacing
from segnet.system.pipeline import Steps, overlapped

# Kind of --save -> the file that a video has of it.
WHOLE_KINDS = {"overlay": "video", "cvat": "cvat-video", "csv": "csv"}


def segment_video(
    prediction: Prediction, task: Task, on_frame: Callable[[int, int], None] = lambda frame, total: None
) -> Outcome:
    """Segment a video or a camera stream.

    Args:
        prediction: model, output folder and settings.
        task: the video.
        on_frame: called with the number of finished frames and the number of all frames (0: unknown).

    Raises:
        DataError: it cannot be read.
        MachineError: out of memory, a full disk, or an unusable device.
        Interrupted: a signal ended a camera stream; its video is written.
    """
    item, settings, records = task.input, prediction.settings, prediction.records
    if item.problem:
        raise DataError(item.problem)
    if (channels := prediction.predictor.channels) != 3:
        raise DataError(f"{item.text}: a video has 3 channels, but the model takes {channels}")
    whole = [kind for name, kind in WHOLE_KINDS.items() if name in settings.kinds]
    kinds = [*whole, *settings.frame_kinds]
    if not kinds:
        known = ",".join(WHOLE_KINDS)
        raise DataError(f"{item.text}: --save {known} works for videos; use --save-frames for other kinds")
    if item.kind == "camera" and "cvat-video" in whole:
        raise DataError(f"{item.text}: --save cvat needs a video file, which CVAT can open too")
    origin = prediction.origin(item)
    # None for 0: earlier results, without this option, stay valid.
    job = {**origin.job, "--max-frames": settings.max_frames, "--smooth": settings.smooth or None}
    origin = replace(origin, job=job)
    if not records.pending(task.name, whole, origin):
        record = records.read(task.name)
        if "frames" in record and set(kinds) <= set(record["saved"]):
            return DONE_BEFORE
    source: Path | int = item.path if item.path is not None else int(item.name.name.removeprefix("camera"))
    with Frames(source) as frames, records.taken(task.name, kinds, origin) as facts:
        clip = _Clip(frames, settings.max_frames, item.kind == "camera", on_frame)
        files = _annotate(prediction, task, clip, whole)
        facts |= prediction.facts(clip.size, clip.pixels, clip.refused, clip.done)
    if clip.interrupted:
        raise clip.interrupted
    total = max(1, clip.done * math.prod(clip.size))
    shares = {name: count / total for name, count in clip.pixels.items()}
    return Outcome(tuple(files), shares, clip.refused / total, clip.done)


def _annotate(prediction: Prediction, task: Task, clip: "_Clip", whole: Sequence[str]) -> list[Path]:
    """Segment all frames and return the paths of the files for the whole video."""
    settings = prediction.settings
    targets = {kind: prediction.records.target(task.name, kind) for kind in whole if kind != "csv"}
    with contextlib.ExitStack() as stack:
        writer = archive = None
        if "video" in targets:
            path = stack.enter_context(replacing(targets["video"]))
            writer = VideoWriter(path, clip.frames.rate, str(targets["video"]))
            stack.callback(writer.abandon)
        if "cvat-video" in targets:
            file = stack.enter_context(open(stack.enter_context(replacing(targets["cvat-video"])), "wb"))
            archive = stack.enter_context(CVATArchive(file, prediction.predictor.classes))

        def write(item: tuple[int, Bands], image: Bands, result: Segmentation) -> None:
            if writer is not None:
                writer.write(result.overlay(only=settings.style.only))
            if archive is not None:
                archive.add(f"frame_{item[0] - 1:06d}", result.cvat_masks(settings.style.only))  # CVAT counts from 0
            frame_name = str(PurePath(task.name) / f"{item[0]:06d}")
            prediction.write_files(frame_name, settings.frame_kinds, result, frame_file(prediction.records, frame_name))
            clip.count(result)

        def report(item: tuple[int, Bands], outcome: SegnetError | None) -> None:
            if outcome is not None:
                raise DataError(f"{task.input.text}: frame {item[0]}: {outcome}")

        smoothing = Smoothing(settings.smooth) if settings.smooth else None
        steps = Steps[tuple[int, Bands], Bands, Segmentation](
            weigh=lambda item: prediction.weight(item[1].shape[0] * item[1].shape[1]),
            read=lambda item: as_bands(item[1], 3, prediction.predictor.value_range),
            key=lambda image: image.shape,
            compute=lambda images: prediction.segment(images, smoothing),
            write=write,
            report=report,
        )
        clip.run(lambda: overlapped(clip, steps, settings.batch_size, PIXELS_IN_WORK, threading.Event(), writers=1))
        if writer is not None:
            writer.close()
    return list(targets.values())


class _Clip:
    """Numbered frames and their totals. Ctrl-C ends a camera stream and keeps its frames so far."""

    def __init__(self, frames: Frames, limit: int, endless: bool, on_frame: Callable[[int, int], None]) -> None:
        self.frames, self._limit, self._endless, self._on_frame = frames, limit, endless, on_frame
        self.pixels: dict[str, int] = {}
        self.size: tuple[int, ...] = ()
        self.done = self.refused = 0
        self.interrupted: Interrupted | None = None

    def __iter__(self) -> Iterator[tuple[int, Bands]]:
        for number, frame in enumerate(self.frames, start=1):
            yield number, frame
            if number == self._limit or self.interrupted:
                return

    def count(self, result: Segmentation) -> None:
        """Add the result of a frame; called by the single writer thread."""
        self.done, self.size = self.done + 1, result.size
        self.refused += result.refused
        for name, pixels in result.pixels.items():
            self.pixels[name] = self.pixels.get(name, 0) + pixels
        total = self.frames.total
        self._on_frame(self.done, min(self._limit, total) if self._limit and total else self._limit or total)

    def run(self, work: Callable[[], None]) -> None:
        """Run the work; a signal that ends a camera stream is raised later."""
        try:
            work()
        except Interrupted as error:
            if not (self._endless and self.done):
                raise
            self.interrupted = error
