"""Transforms are tried on a crop: only those that suit it are used."""

import pytest

from segnet.data.augment.building import Borders
from segnet.data.augment.trials import try_transform
from segnet.errors import ConfigError


def attempt(spec, channels=3, white=255, crop_size=(32, 48)):
    try_transform("data.augment[0]", spec, Borders([9] * channels, white, 255), crop_size, num_classes=3)


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        (
            {"name": "RandomScale"},
            3,
            r"RandomScale makes a crop of \d+ x \d+ from one of 48 x 32: data\.scale_range scales",
        ),
        ({"name": "RandomCrop", "height": 8, "width": 8}, 3, "makes a crop of 8 x 8 from one of 48 x 32"),
        (
            {"name": "OneOf", "transforms": [{"name": "Blur"}, {"name": "Transpose"}]},
            3,
            r"\[0\]\.transforms\[1\]: Transpose makes a crop of 32 x 48 .*: move it out of its group, or set a square "
            "data.crop_size",
        ),
        (
            {"name": "HueSaturationValue"},
            4,
            r"HueSaturationValue cannot be applied to images of 4 channels .*: remove it",
        ),
        ({"name": "RandomRain"}, 1, "RandomRain cannot be applied to images of 1 channel"),
        ({"name": "Affine", "rotate": [20, 20], "mask_interpolation": 1}, 3, "invents class ids: .*mask_interpolation"),
        ({"name": "Affine", "fill_mask": 3}, 3, r"fill_mask=3 is no class: leave it out .* 255, or set 0 to 2"),
        (
            {"name": "Sequential", "transforms": [{"name": "PixelDropout", "mask_drop_value": 9}]},
            3,
            "mask_drop_value=9 is",
        ),
    ],
)
def test_a_transform_that_does_not_suit_is_refused_in_one_line(spec, channels, message):
    with pytest.raises(ConfigError, match=message) as caught:
        attempt(spec, channels)
    assert "\n" not in str(caught.value)


def test_transforms_that_suit_are_accepted():
    attempt({"name": "Transpose"}, crop_size=(32, 32))
    attempt({"name": "Affine", "rotate": [20, 20], "fill_mask": 2})
    crop = {"name": "RandomResizedCrop", "size": [32, 48]}
    attempt({"name": "Sequential", "transforms": [{"name": "PadIfNeeded", "min_height": 90}, crop]})
    attempt({"name": "SomeOf", "n": 2, "transforms": [{"name": "GaussNoise"}, {"name": "RandomGamma"}]}, 12, 1)
