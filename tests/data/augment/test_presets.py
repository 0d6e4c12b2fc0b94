"""Presets, and the options that they choose where the user has not."""

from dataclasses import replace

import pytest

from segnet.config import DataConfig
from segnet.data.augment.presets import (
    NO_PRESET,
    PRESETS,
    augment_summary,
    complete_augment,
    listed_transforms,
    with_augment_file,
)
from segnet.errors import ConfigError, DataError

TRANSFORM = {"name": "GaussNoise", "p": 0.3}


def chosen(**options):
    data = complete_augment(DataConfig(**options))
    return data.scale_range, data.flip, data.color_jitter


def values(preset):
    return list(preset.scale_range), preset.flip, preset.color_jitter


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_chooses_options_only_where_they_are_null(name):
    assert chosen(augment=name) == values(PRESETS[name])
    assert chosen(augment=[name, TRANSFORM]) == values(PRESETS[name])
    assert chosen(augment=name, flip=0.25, scale_range=[1, 1], color_jitter=0.0) == ([1, 1], 0.25, 0.0)
    assert chosen(augment=name, flip=0.25)[2] == PRESETS[name].color_jitter
    completed = complete_augment(DataConfig(augment=name))
    assert complete_augment(completed) == completed


def test_text_is_not_mirrored_and_streets_stay_upright():
    names = {name: {spec["name"] for _, spec in listed_transforms(name, 3)} for name in PRESETS}
    assert {name for name in PRESETS if "SquareSymmetry" in names[name]} == {"aerial", "microscope"}
    assert chosen(augment="document")[1] == 0
    assert not {"HorizontalFlip", "VerticalFlip", "RandomRotate90"} & (names["document"] | names["street"])


def test_without_a_preset_the_defaults_stay_and_a_listed_flip_or_jitter_replaces_them():
    assert chosen() == chosen(augment=[TRANSFORM]) == values(NO_PRESET)
    assert chosen(augment=[{"name": "OneOf", "transforms": ["HorizontalFlip", TRANSFORM]}])[1:] == (0, 0.4)
    assert chosen(augment=[{"name": "ColorJitter"}, "D4"])[1:] == (0, 0)
    assert chosen(augment=["D4"], flip=0.5)[1] == 0.5


def test_rgb_transforms_of_a_preset_are_left_out_for_other_channels():
    def names(channels):
        return [spec["name"] for _, spec in listed_transforms("document", channels)]

    assert set(names(3)) - set(names(1)) == {"ToGray", "ImageCompression"}
    assert names(1) == names(12)


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        ("areal", r"data\.augment=areal is unknown\. Did you mean 'aerial'\?.*\[\{name:GaussNoise,p:0\.3\}\]"),
        ("GaussNoise", r"data\.augment=GaussNoise is unknown\. Choose from: aerial, document, microscope, street"),
        (["street", "aerial"], "has 2 presets: name one of them"),
        ({"name": "GaussNoise"}, "must be a preset or a list"),
        (3, "must be a preset or a list"),
    ],
)
def test_what_is_neither_preset_nor_list_is_refused_in_one_line(augment, message):
    with pytest.raises(ConfigError, match=message) as caught:
        complete_augment(DataConfig(augment=augment))
    assert "\n" not in str(caught.value)


def test_a_list_comes_from_a_yaml_file(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("- aerial\n- {name: GaussNoise, p: 0.3}\n")
    data = with_augment_file(DataConfig(augment=str(file)))
    assert data.augment == ["aerial", TRANSFORM]
    assert with_augment_file(data) == data
    assert chosen(augment=str(file)) == values(PRESETS["aerial"])
    file.write_text("name: GaussNoise\n")
    with pytest.raises(DataError, match=r"mine\.yaml: the file must be a list"):
        with_augment_file(DataConfig(augment=str(file)))
    with pytest.raises(DataError, match=r"other\.yml"):
        complete_augment(DataConfig(augment=str(tmp_path / "other.yml")))


def test_the_summary_names_preset_values_and_transforms():
    data = complete_augment(DataConfig(augment=["document", TRANSFORM], cutmix=0.5))
    text = augment_summary(data, 1)
    assert text.startswith("document: scale 0.7-1.4, flip 0, color jitter 0.3, CutMix 0.5, Rotate, Perspective, ")
    assert text.endswith("GaussNoise")
    assert augment_summary(complete_augment(replace(data, augment=None, cutmix=0)), 3) == (
        "scale 0.7-1.4, flip 0, color jitter 0.3"
    )
