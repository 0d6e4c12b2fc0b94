"""Read frames of videos and cameras, and write videos, with OpenCV.

OpenCV interprets "%d" in a name as an image sequence, crashes on names that are not UTF-8, and does not report a full
disk. It therefore gets a link with a plain name to a file that Python has opened before, and written frames are
counted.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from segnet.errors import DataError, MachineError
from segnet.images.files import UInt8Array

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # quiet: segnet reports its failures as errors
FRAME_RATE = 25.0  # default if the source has none [frames / second]
CUT_OFF = 0.9  # required fraction of the announced frames; some files announce a few too many


@contextlib.contextmanager
def _plainly_named(path: Path, suffix: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        link = os.path.join(folder, f"video{suffix}")
        os.symlink(os.path.abspath(path), link)
        yield link


class Frames:
    """Iterates over the frames of a video file or camera; a context manager.

    Args:
        source: a file, or the number of a camera.

    Attributes:
        rate: [frames / second].
        total: announced number of frames; 0 if unknown.

    Raises:
        DataError: no such file or camera, or not readable by OpenCV.
    """

    def __init__(self, source: Path | int) -> None:
        self._source, self._stack = source, contextlib.ExitStack()
        self._text = f"camera {source}" if isinstance(source, int) else str(source)
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        if isinstance(source, int):
            self._capture = cv2.VideoCapture(source)
        else:
            try:
                with open(source, "rb") as file:
                    empty = not file.read(1)
            except OSError as error:
                raise DataError(f"{source}: cannot be read ({error.strerror})") from None
            if empty:
                raise DataError(f"{source}: is empty (0 bytes)")
            # A playlist in a video file must not access the network.
            os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file"
            name = self._stack.enter_context(_plainly_named(source, source.suffix.lower()))
            self._capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            self.close()
            what = "there is no such camera" if isinstance(source, int) else "is not a video, or damaged"
            raise DataError(f"{self._text}: {what}")
        rate, total = self._capture.get(cv2.CAP_PROP_FPS), self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.rate = rate if 0 < rate < 1000 else FRAME_RATE
        self.total = int(total) if 0 < total < 1e9 else 0

    def __enter__(self) -> "Frames":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Release the file or camera."""
        if hasattr(self, "_capture"):
            self._capture.release()
        self._stack.close()

    def __iter__(self) -> Iterator[UInt8Array]:
        """Yield frames (H, W, 3) uint8 RGB.

        Raises:
            DataError: no frame, or many frames are missing at the end.
        """
        count = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            count += 1
            yield np.ascontiguousarray(frame[:, :, ::-1]) if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
        if not count:
            raise DataError(f"{self._text}: contains no decodable frame")
        if count < CUT_OFF * self.total:
            raise DataError(f"{self._text}: is damaged or cut off: {count:,} of {self.total:,} frames can be decoded")


class VideoWriter:
    """Writes frames of equal size as an MP4 (MPEG-4); must be closed.

    Args:
        path: path of an existing file.
        rate: frame rate [frames / second].
        text: name of the video in errors.
    """

    def __init__(self, path: Path, rate: float, text: str) -> None:
        self._rate, self._text, self._count = rate, text, 0
        self._stack = contextlib.ExitStack()
        self._name = self._stack.enter_context(_plainly_named(path, ".mp4"))
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, frame: UInt8Array) -> None:
        """Add a frame (H, W, 3) uint8 RGB; the first one sets the size. Odd sizes lose their last row or column.

        Raises:
            MachineError: OpenCV cannot write it.
        """
        height, width = (max(2, side // 2 * 2) for side in frame.shape[:2])
        if self._writer is None:
            fourcc = cv2.VideoWriter.fourcc(*"mp4v")
            self._size = (width, height)
            self._writer = cv2.VideoWriter(self._name, cv2.CAP_FFMPEG, fourcc, self._rate, self._size)
            if not self._writer.isOpened():
                raise MachineError(f"{self._text}: this build of OpenCV cannot write an MP4 of {width} x {height}")
        if (width, height) != self._size:
            frame = np.asarray(cv2.resize(frame, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        self._writer.write(np.ascontiguousarray(frame[: self._size[1], : self._size[0], ::-1]))
        self._count += 1

    def close(self) -> None:
        """Finish the file and count its frames.

        Raises:
            MachineError: frames are missing.
        """
        if self._writer is not None:
            self._writer.release()
        reader = cv2.VideoCapture(self._name, cv2.CAP_FFMPEG)
        stored = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
        reader.release()
        self._stack.close()
        if stored != self._count:
            raise MachineError(
                f"{self._text}: cannot be written ({stored} of {self._count} frames are stored): is the disk full?"
            )

    def abandon(self) -> None:
        """Release the file without checks; does nothing after `close`."""
        if self._writer is not None:
            self._writer.release()
        self._stack.close()
