"""Images for a trained model: warnings, and errors without advice about options of a training."""

import numpy as np
import pytest
import torch
from PIL import Image

from segnet.errors import DataError
from segnet.images.bands import read_bands
from segnet.images.convert import as_bands
from segnet.images.model_images import ModelImages

DARK = np.linspace(0, 4095, 48).reshape(6, 8).astype(np.uint16)


def forms(folder):
    Image.fromarray(DARK).save(folder / "a.png")
    return {
        "path": folder / "a.png",
        "array": DARK,
        "tensor": torch.from_numpy(DARK.astype(np.int32)).to(torch.uint16),
        "image": Image.open(folder / "a.png"),
    }


@pytest.mark.parametrize("form", ["path", "array", "tensor", "image"])
def test_the_first_image_that_is_almost_black_is_logged(tmp_path, caplog, form):
    image, images = forms(tmp_path)[form], ModelImages(3, None)
    for _ in range(2):
        np.testing.assert_array_equal(images.convert(image), as_bands(image, 3))
    name = str(tmp_path / "a.png") if form == "path" else "the image"
    [message] = caplog.messages
    assert message.startswith(f"{name}: its largest value is 4095 of 65535, almost black")


@pytest.mark.parametrize(
    ("image", "value_range"),
    [(DARK, (0, 4095)), (DARK * 15, None), (np.full((4, 4), 20, np.uint8), None), (np.full((4, 4), 0.01), None)],
)
def test_other_images_are_not_logged(caplog, image, value_range):
    ModelImages(3, value_range).convert(image)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("values", "channels", "message"),
    [
        (np.zeros((6, 8, 5), np.uint16), 3, "has 5 bands, but the model takes RGB"),
        (np.zeros((6, 8, 5), np.uint16), 4, "has 5 bands, but the model takes 4 channels"),
        (np.full((6, 8, 3), 300, np.float32), 3, "float32 values 300 to 300 are outside 0-1: convert it to"),
    ],
)
def test_errors_name_no_option_of_a_training(tmp_path, values, channels, message):
    tifffile = pytest.importorskip("tifffile")
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, values, planarconfig="contig", photometric="rgb" if channels == 3 == values.shape[2] else "minisblack"
    )
    for read in (ModelImages(channels, None).read, ModelImages(channels, None).convert):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {message}")
        assert "dataset." not in str(caught.value)
    with pytest.raises(DataError, match=r"set dataset\."):  # a training can
        read_bands(path, channels)
