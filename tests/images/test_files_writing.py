"""Writing images and masks: a whole file in an atomic write, or none."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from image_files import noise
from PIL import Image

from segnet.errors import MachineError
from segnet.images.files import read_image, write_image, write_mask
from segnet.images.masks import read_mask
from segnet.system.files import replacing


def test_masks_are_written_as_palette_png(tmp_path):
    palette = [(10, 20, 30), (40, 50, 60), (70, 80, 90)]
    ids = noise(6, 7, top=3)
    write_mask(tmp_path / "new" / "folder" / "a.png", ids, palette)
    with Image.open(tmp_path / "new" / "folder" / "a.png") as pillow_image:
        assert (pillow_image.format, pillow_image.mode) == ("PNG", "P")
        assert pillow_image.getpalette()[:9] == [10, 20, 30, 40, 50, 60, 70, 80, 90]
        np.testing.assert_array_equal(np.asarray(pillow_image.convert("RGB")), np.array(palette, np.uint8)[ids])
    np.testing.assert_array_equal(read_mask(tmp_path / "new" / "folder" / "a.png"), ids)


@pytest.mark.parametrize("num_classes", [1, 2, 3, 4, 5, 16, 17, 255, 256])
@pytest.mark.parametrize("top", ["last class", 255])
def test_written_ids_are_read_back_for_any_number_of_classes(tmp_path, num_classes, top):
    ids = noise(5, 7, top=num_classes)
    ids[0, 0] = num_classes - 1 if top == "last class" else 255
    write_mask(tmp_path / "a.png", ids, noise(num_classes, 3).tolist())
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png"), ids)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64])
def test_more_than_256_classes_give_16_bits(tmp_path, dtype):
    ids = noise(5, 7, top=300, dtype=dtype)
    ids[0, 0] = 299
    write_mask(tmp_path / "a.png", ids, noise(300, 3).tolist())
    mask = read_mask(tmp_path / "a.png")
    assert mask.dtype == np.uint16
    np.testing.assert_array_equal(mask, ids)


def test_existing_file_is_replaced(tmp_path):
    for value in (1, 2):
        write_image(tmp_path / "a.png", np.full((3, 3, 3), value, np.uint8))
    assert read_image(tmp_path / "a.png").max() == 2
    assert os.listdir(tmp_path) == ["a.png"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("bug"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")

    def write() -> None:
        with replacing(target) as temporary:
            temporary.write_bytes(b"half of the new")
            assert target.read_bytes() == b"old"
            raise error

    disk = isinstance(error, OSError)
    with pytest.raises(MachineError if disk else type(error)) as caught:
        write()
    assert not disk or str(caught.value) == f"{target}: cannot be written (No space left on device)"
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_unsupported_mode_leaves_the_old_file(tmp_path):
    target = tmp_path / "a.png"
    target.write_bytes(b"old")
    with pytest.raises(MachineError, match="cannot write mode F"):
        write_image(target, np.zeros((2, 2), np.float32))
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.png"]


def test_folder_below_a_file_is_a_machine_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MachineError, match="cannot be written") as caught:
        write_mask(tmp_path / "file" / "a.png", noise(3, 3, top=2), [(0, 0, 0)] * 2)
    assert str(tmp_path / "file" / "a.png") in str(caught.value)


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    code = (
        "import os, sys, numpy\nfrom segnet.images.files import write_mask\n"
        "write_mask(sys.argv[1], numpy.zeros((3, 3), 'uint8'), [(0, 0, 0)] * 2)\n"
        "sys.exit(os.umask(0) != int(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(umask)]
    assert subprocess.run(command, umask=umask, cwd=Path(__file__).parents[2]).returncode == 0
    assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o666 & ~umask
