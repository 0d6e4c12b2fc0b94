"""Images much smaller than the training crops are reported with the crop that fits."""

import pytest

from segnet.config import DataConfig
from segnet.data.scan.crop_fill import fill, small_images


def test_the_fill_is_the_mean_over_the_random_scales():
    assert fill((512, 512), [512, 512], [1, 1]) == 1
    assert fill((256, 512), [512, 512], [1, 1]) == pytest.approx(0.5)
    assert fill((101, 101), [512, 512], [0.5, 2]) == pytest.approx(0.068, abs=0.002)


def test_small_images_are_told_with_the_crop_that_fits():
    text = small_images("train", {(101, 101): 40, (90, 120): 2}, DataConfig())
    assert "images of 101 x 101 fill 6." in text
    assert text.endswith("set data.crop_size=[128,128]")


@pytest.mark.parametrize(("split", "size"), [("train", (480, 360)), ("val", (101, 101))])
def test_others_are_not(split, size):
    assert small_images(split, {size: 3}, DataConfig()) == ""
