"""Images: reading, computing and writing overlap. Inputs from stdin or the web are saved to a temporary file first."""

import contextlib
import math
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from segnet.errors import DataError, SegnetError
from segnet.images.formats import TIFF_STARTS
from segnet.images.header import TooManyPixelsError, has_world_file, read_header
from segnet.images.values import Bands
from segnet.inference.segmentation import Segmentation
from segnet.prediction import DONE_BEFORE, PIXELS_IN_WORK, Outcome, Prediction, Task
from segnet.prediction.inputs import Input, require_input_file
from segnet.prediction.records import Origin
from segnet.system.machine import num_cores
from segnet.system.pipeline import Done, Steps, overlapped
from segnet.system.web import MAX_INPUT_BYTES, download


@dataclass(frozen=True)
class _Loaded:
    image: Bands
    pending: list[str]
    origin: Origin
    warning: str
    is_placed: bool  # georeferenced


def segment_images(
    prediction: Prediction, tasks: Sequence[Task], report: Callable[[Task, Outcome | SegnetError], None]
) -> None:
    """Segment images and report on each, in their order.

    Raises:
        MachineError: out of memory, a full disk, an unusable device, or a package that is not installed.
    """
    stopped = threading.Event()
    batch_size = prediction.settings.batch_size
    least = PIXELS_IN_WORK / (16 + 2 * batch_size)  # also limits the number of small images
    steps = Steps[Task, _Loaded, Segmentation](
        weigh=lambda task: max(least, prediction.weight(num_pixels(task.input))),
        read=lambda task: _read_input(prediction, task, stopped),
        key=lambda loaded: (loaded.image.shape, loaded.image.dtype),
        compute=lambda batch: prediction.segment([loaded.image for loaded in batch]),
        write=lambda task, loaded, result: _write(prediction, task, loaded, result),
        report=report,
    )
    overlapped(tasks, steps, batch_size, PIXELS_IN_WORK, stopped, readers=min(4, num_cores()))


def _read_input(prediction: Prediction, task: Task, stopped: threading.Event) -> _Loaded:
    item, settings = task.input, prediction.settings
    if item.problem:
        raise DataError(item.problem)
    origin = prediction.origin(item)
    pending = prediction.records.pending(task.name, settings.kinds, origin)
    if not pending:
        raise Done(DONE_BEFORE)
    with _local(item, settings.private_urls, stopped) as path:
        try:
            image = prediction.images.read(path)
        except TooManyPixelsError as error:
            raise DataError(f"{error}, or raise --max-megapixels") from None
        header = read_header(path)
        is_placed = header.is_georeferenced or has_world_file(path)
        several = header.num_pages > 1
        pages = [f"has {header.num_pages} pages or frames; only the first is segmented"] if several else []
        warning = "; ".join([*pages, *prediction.images.warnings(path, image)])
        return _Loaded(image, pending, origin, warning, is_placed)


def _write(prediction: Prediction, task: Task, loaded: _Loaded, result: Segmentation) -> Outcome:
    facts = prediction.facts(result.size, result.pixels, result.refused)
    with prediction.records.taken(task.name, loaded.pending, loaded.origin, facts):
        files = prediction.write_files(task.name, loaded.pending, result, loaded.origin.source)
    refused = result.refused / math.prod(result.size)
    return Outcome(tuple(files), result.shares, refused, warning=loaded.warning, loses_place=loaded.is_placed)


@contextlib.contextmanager
def _local(item: Input, private_urls: bool, stopped: threading.Event) -> Iterator[Path]:
    """The file of an input, or a temporary copy. Errors name the input, never the temporary file."""
    if item.path is not None:
        yield item.path
        return
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        path = Path(folder) / "image"
        with open(path, "wb") as file:
            if item.kind == "stdin":
                _copy_stdin(file)
            else:
                download(item.text, file, private_urls, stopped=stopped)
        with open(path, "rb") as file:
            is_tiff = file.read(4) in TIFF_STARTS
        if is_tiff:
            path = path.rename(path.with_suffix(".tif"))
        try:
            yield path
        except DataError as error:
            raise DataError(str(error).replace(str(path), item.text)) from None


def _copy_stdin(file: BinaryIO) -> None:
    if sys.stdin.isatty():
        raise DataError("-: stdin is a terminal: redirect an image to it, as in 'segnet predict - < image.jpg'")
    received = 0
    while chunk := sys.stdin.buffer.read(2**20):
        received += len(chunk)
        if received > MAX_INPUT_BYTES:
            raise DataError(f"-: is larger than {MAX_INPUT_BYTES >> 20} MiB")
        file.write(chunk)


def num_pixels(item: Input) -> float:
    """Number of pixels of an image from its header; 0 if it cannot be read: the reader reports the error."""
    try:
        if item.path is None:
            return 0
        require_input_file(item.path)
        return float(read_header(item.path).num_pixels)
    except DataError:
        return 0
