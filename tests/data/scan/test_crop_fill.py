"""Images much smaller than the training crops are reported with a fitting crop size."""

import pytest

from segnet.config import DataConfig
from segnet.data.scan.crop_fill import fill, fitting_crop, small_images


def test_the_filled_fraction_is_averaged_over_the_random_scales():
    assert fill((512, 512), [512, 512], [1, 1]) == 1
    assert fill((256, 512), [512, 512], [1, 1]) == pytest.approx(0.5)
    assert fill((101, 101), [512, 512], [0.5, 2]) == pytest.approx(0.068, abs=0.002)


def test_small_images_give_a_warning_with_a_fitting_crop_size():
    text = small_images("train", {(101, 101): 40, (90, 120): 2}, DataConfig(crop_size=[512, 512]))
    assert "images of 101 x 101 (median) fill 6." in text
    assert text.endswith('set "data.crop_size=[101,101]"')


@pytest.mark.parametrize(("split", "size"), [("train", (480, 360)), ("val", (101, 101))])
def test_other_images_give_no_warning(split, size):
    assert small_images(split, {size: 3}, DataConfig(crop_size=[512, 512])) == ""


def test_a_crop_that_follows_the_images_is_not_warned_about():
    assert small_images("train", {(101, 101): 40}, DataConfig()) == ""


def test_the_fitting_crop_covers_the_median_image_up_to_a_limit():
    assert fitting_crop({(101, 300): 3, (10, 20): 2, (900, 900): 1}, 256) == [101, 256]
    assert fitting_crop({}, 256) == [256, 256]


def test_a_fitting_crop_gives_no_further_warning():
    assert small_images("train", {(24, 40): 3}, DataConfig(crop_size=[512, 512])).endswith('"data.crop_size=[64,64]"')
    assert small_images("train", {(24, 40): 3}, DataConfig(crop_size=[64, 64])) == ""
