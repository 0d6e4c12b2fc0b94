"""Videos: written frames are read back, and damaged files are reported."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from segnet.errors import DataError, MachineError
from segnet.images.video import FRAME_RATE, Frames, VideoWriter


def write(path: Path, num_frames: int = 8, size: tuple[int, int] = (32, 48)) -> Path:
    path.touch()
    writer = VideoWriter(path, 10, str(path))
    for number in range(num_frames):
        frame = np.zeros((*size, 3), np.uint8)
        frame[:] = (30 * number, 0, 200)
        writer.write(frame)
    writer.close()
    return path


@pytest.mark.parametrize("name", ["a.mp4", b"caf\xe9 %03d\n.mp4"])
def test_written_videos_are_read_back_under_any_name(tmp_path, name):
    path = write(tmp_path / os.fsdecode(name))
    with Frames(path) as frames:
        assert (frames.rate, frames.total) == (10, 8)
        for number, frame in enumerate(frames):
            assert (frame.shape, frame.dtype) == ((32, 48, 3), np.uint8)
            np.testing.assert_allclose(frame.mean(axis=(0, 1)), (30 * number, 0, 200), atol=12)
    assert number == 7


def test_odd_sizes_lose_a_row_and_frames_of_another_size_are_resized(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    writer = VideoWriter(path, 5, "a.mp4")
    for size in ((33, 47), (66, 94), (1, 1)):
        writer.write(np.zeros((*size, 3), np.uint8))
    writer.close()
    with Frames(path) as frames:
        assert [frame.shape for frame in frames] == [(32, 46, 3)] * 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        (b"", "is empty"),
        (b"text", "is not a video"),
        (b"#EXTM3U\nhttp://127.0.0.1/a.ts", "is not"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mp4: {message}"):
        Frames(path)


def test_a_truncated_video_is_reported_after_its_last_frame(tmp_path):
    whole = tmp_path / "a.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 12, (48, 32))
    rng = np.random.default_rng(0)
    for _ in range(20):
        writer.write(rng.integers(0, 256, (32, 48, 3), np.uint8))
    writer.release()
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with Frames(whole) as frames:
        assert len(list(frames)) == 20
    with Frames(cut) as frames, pytest.raises(DataError, match=r"cut off: \d+ of 20 frames can be decoded"):
        list(frames)


def test_a_missing_camera_is_reported(monkeypatch):
    class Nothing:
        def __init__(self, number: int) -> None:
            assert number == 3

        def isOpened(self) -> bool:
            return False

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Nothing)
    with pytest.raises(DataError, match="camera 3: there is no such camera"):
        Frames(3)


def test_cameras_give_grayscale_or_color_frames_without_a_rate(monkeypatch):
    given = [np.zeros((4, 6, 3), np.uint8) + np.array([1, 2, 3], np.uint8), np.full((4, 6), 9, np.uint8)]

    class Camera:
        def __init__(self, number: int) -> None:
            self._left = list(given)

        def isOpened(self) -> bool:
            return True

        def get(self, what: int) -> float:
            return -1.0

        def read(self):
            return (True, self._left.pop(0)) if self._left else (False, None)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with Frames(0) as frames:
        assert (frames.rate, frames.total) == (FRAME_RATE, 0)
        color, gray = list(frames)
    assert color[0, 0].tolist() == [3, 2, 1]
    assert gray.shape == (4, 6, 3)


def test_a_full_disk_is_reported(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.touch()
    writer = VideoWriter(path, 5, "a.mp4")
    for _ in range(5):
        writer.write(np.zeros((32, 48, 3), np.uint8))
    writer._writer.release()
    path.write_bytes(path.read_bytes()[:100])  # like on a full disk
    with pytest.raises(MachineError, match=r"a\.mp4: cannot be written \(0 of 5 frames are stored\): is the disk full"):
        writer.close()
