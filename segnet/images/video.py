"""Videos and cameras: frames in, an annotated video out. By OpenCV, which is never given a name that it could misread.

OpenCV takes a name with "%d" for a series of images, crashes on one that is not UTF-8, and does not report a full
disk: it gets a link of a plain name to a file that Python has opened before, and what it wrote is counted.
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
FRAME_RATE = 25.0  # where a source tells none [frames / second]
CUT_OFF = 0.9  # of the frames that a file announces; some announce a few more than they have


@contextlib.contextmanager
def _plainly_named(path: Path, suffix: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
        link = os.path.join(folder, f"video{suffix}")
        os.symlink(os.path.abspath(path), link)
        yield link


class Frames:
    """The frames of a video file or camera, in order; a context manager.

    Args:
        source: a file, or the number of a camera.

    Attributes:
        rate: [frames / second].
        total: frames that the file announces; 0 where it does not.

    Raises:
        DataError: no such file or camera, or none that OpenCV reads.
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
            # A playlist inside a video file must not lead into the network.
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
        """Lets the file or camera go."""
        if hasattr(self, "_capture"):
            self._capture.release()
        self._stack.close()

    def __iter__(self) -> Iterator[UInt8Array]:
        """Gives (H, W, 3) uint8 RGB.

        Raises:
            DataError: there is no frame, or the file ends long before it says.
        """
        count = 0
        while True:
            there, frame = self._capture.read()
            if not there:
                break
            count += 1
            yield np.ascontiguousarray(frame[:, :, ::-1]) if frame.ndim == 3 else np.repeat(frame[..., None], 3, axis=2)
        if not count:
            raise DataError(f"{self._text}: holds no frame that can be decoded")
        if count < CUT_OFF * self.total:
            raise DataError(f"{self._text}: is damaged or cut off: {count} of {self.total} frames can be decoded")


class VideoWriter:
    """Writes frames of one size as an MP4 (MPEG-4); to be closed.

    Args:
        path: of a file that exists.
        rate: [frames / second].
        text: what the video is called in errors.
    """

    def __init__(self, path: Path, rate: float, text: str) -> None:
        self._rate, self._text, self._count = rate, text, 0
        self._stack = contextlib.ExitStack()
        self._name = self._stack.enter_context(_plainly_named(path, ".mp4"))
        self._writer: Any = None
        self._size = (0, 0)

    def write(self, frame: UInt8Array) -> None:
        """Adds (H, W, 3) uint8 RGB; the first one says how large the video is. The last row or column of odd ones goes.

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
        """Ends the file, and counts what is in it.

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
                f"{self._text}: cannot be written, is the disk full? {stored} of {self._count} frames are there"
            )

    def abandon(self) -> None:
        """Lets the file go, whatever is in it; after `close` nothing is left to do."""
        if self._writer is not None:
            self._writer.release()
        self._stack.close()
