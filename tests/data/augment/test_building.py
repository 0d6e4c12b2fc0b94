"""Transforms from specs: names and arguments are checked, and borders are ignored."""

import numpy as np
import pytest

from segnet.data.augment.building import COMPOSITIONS, TRANSFORMS, WHY_REFUSED, Borders, build_transform, require_spec
from segnet.errors import ConfigError

BORDERS = Borders([12, 34, 56], 255, 255)
WHERE = "data.augment[0]"


def refusal(spec):
    def built():
        require_spec(WHERE, spec)
        return build_transform(WHERE, spec, BORDERS)

    with pytest.raises(ConfigError) as caught:
        built()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"name": "GausNoise"},
            "data.augment[0].name=GausNoise: albumentations has no such transform. Did you mean 'Gaus",
        ),
        (
            {"name": "GaussNoise", "std_rang": 1},
            "data.augment[0].std_rang is not an option of GaussNoise. Did you mean 'std_",
        ),
        (
            {"name": "GaussNoise", "args": {"p": 1}},
            "data.augment[0].args: write the arguments of GaussNoise beside its",
        ),
        ({"GaussNoise": {"p": 1}}, "name is missing: write {name: GaussNoise, p: 0.3}"),
        (7, "data.augment[0]=7: a transform is written {name: GaussNoise, p: 0.3}"),
        ({"name": "Affine", "rotate": "far"}, "data.augment[0]: Affine: rotate"),
        ({"name": "GaussNoise", "std_range": [0.4, 0.2]}, "First value should be less than the second"),
        ({"name": "RandomCrop", "width": 9}, "data.augment[0].height is not set"),
        ({"name": "Normalize"}, "data.augment[0]: Normalize cannot be used: the model takes values of 0-255"),
        ({"name": "Mosaic"}, "it needs further images; data.cutmix"),
        ({"name": "RandomCropNearBBox"}, "it needs boxes"),
        ({"name": "CoarseDropout3D"}, "albumentations has no such transform"),
        ({"name": "DualTransform"}, "albumentations has no such transform"),
        ({"name": "OneOf", "transforms": [{"name": "Blurr"}]}, "data.augment[0].transforms[0].name=Blurr: albument"),
        ({"name": "OneOf", "transforms": 3}, "data.augment[0].transforms=3: must be a list"),
        ({"name": "Sequential"}, "data.augment[0].transforms is not set"),
    ],
)
def test_what_cannot_be_built_is_refused_in_one_line(spec, message):
    assert message in refusal(spec)


def test_no_refused_transform_is_in_the_table():
    assert not set(WHY_REFUSED) & {*TRANSFORMS, *COMPOSITIONS}
    assert {"HorizontalFlip", "ElasticTransform", "CoarseDropout"} < set(TRANSFORMS)


@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_borders_are_ignored_and_have_the_fill_color(channels):
    borders = Borders([10 * (channel + 1) for channel in range(channels)], 255, 7)
    rotate = build_transform(WHERE, {"name": "Rotate", "limit": [45, 45], "p": 1.0}, borders)
    result = rotate(image=np.full((40, 60, channels), 200, np.uint8), mask=np.full((40, 60), 3, np.int32))
    assert set(np.unique(result["mask"])) == {3, 7}
    expected = borders.fill if channels <= 4 else [sum(borders.fill) / channels] * channels
    np.testing.assert_array_equal(result["image"][0, 0], expected)


def test_given_fill_values_are_kept_and_mean_0_to_255():
    spec = {"name": "Affine", "rotate": [45, 45], "fill": [255, 0, 51], "fill_mask": 2, "p": 1.0}
    for white in (255, 1):
        transform = build_transform(WHERE, spec, Borders([9, 9, 9], white, 7))
        image = np.full((40, 60, 3), white, np.uint8 if white == 255 else np.float32)
        result = transform(image=image, mask=np.full((40, 60), 3, np.uint8))
        assert set(np.unique(result["mask"])) == {2, 3}
        np.testing.assert_allclose(result["image"][0, 0], [white, 0, white / 5], rtol=1e-6)


def test_dropped_rectangles_keep_their_mask():
    transform = build_transform(WHERE, {"name": "CoarseDropout", "p": 1.0}, BORDERS)
    result = transform(image=np.full((40, 60, 3), 200, np.uint8), mask=np.full((40, 60), 3, np.uint8))
    assert (result["mask"] == 3).all()
    assert (result["image"] != 200).any()
