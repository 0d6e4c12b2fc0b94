import dataclasses
import json

import pytest

from segnet.classes import Classes, voc_palette
from segnet.errors import ConfigError

GRAYS = ((1, 1, 1), (2, 2, 2))


def test_voc_palette_is_the_published_color_map_without_its_black():
    palette = voc_palette(20)
    assert palette[0] == (128, 0, 0)
    assert palette[2] == (128, 128, 0)
    assert palette[14] == (192, 128, 128)  # person
    assert palette[19] == (0, 64, 128)  # tv monitor


def test_voc_palette_has_255_distinct_colors():
    palette = voc_palette(255)
    assert len(set(palette)) == len(palette) == 255
    assert (0, 0, 0) not in palette


def test_create_chooses_default_colors():
    assert Classes.create(["road", "sky"]).palette == ((128, 0, 0), (0, 128, 0))


@pytest.mark.parametrize(
    ("names", "palette", "ignore_index", "words"),
    [
        ([], [], 255, "missing"),
        (["a", "a"], GRAYS, 255, "'a' is duplicate"),
        (["a", ""], GRAYS, 255, "'' is not a string"),
        (["a", "  "], GRAYS, 255, "is not a string"),
        (["a", 5], GRAYS, 255, "5 is not a string"),
        (["a", True], GRAYS, 255, "True is not a string"),
        (["a"], GRAYS, 255, "2 colors for 1 classes"),
        (["a", "b"], [[0, 0, 0], [0, 0]], 255, "[0, 0] of class 'b'"),
        (["a", "b"], [[0, 0, 0], [0, 0, 256]], 255, "[0, 0, 256]"),
        (["a", "b"], [[0, 0, 0], [0, 0, -1]], 255, "[0, 0, -1]"),
        (["a", "b"], [[0, 0, 0], [0, 0, 0.5]], 255, "[0, 0, 0.5]"),
        (["a", "b"], GRAYS, 1, "id of class 'b'"),
        (["a", "b"], GRAYS, 0, "id of class 'a'"),
        (["a", "b"], GRAYS, -1, "ignore_index=-1"),
        (["a", "b"], GRAYS, 65536, "ignore_index=65536"),
        (["a", "b"], GRAYS, None, "ignore_index=None"),
        (["a", "b"], GRAYS, "255", "ignore_index=255"),
        ([f"c{i}" for i in range(65536)], None, 65535, "65536 classes"),
    ],
)
def test_invalid_classes_are_refused(names, palette, ignore_index, words):
    if len(names) > 1000:  # spares the palette: the count of names comes before
        palette = [(0, 0, 0)] * len(names)
    with pytest.raises(ConfigError) as error:
        Classes.create(names, palette, ignore_index)
    assert words in str(error.value)


@pytest.mark.parametrize("ignore_index", [2, 255, 65535])
def test_ignore_index_may_be_any_unused_mask_value(ignore_index):
    assert Classes.create(["a", "b"], ignore_index=ignore_index).ignore_index == ignore_index


def test_to_dict_returns_builtins_and_create_inverts_it():
    classes = Classes.create(["road", "Straße"], [[1, 2, 3], [4, 5, 6]], 9)
    stored = classes.to_dict()
    assert stored == {"names": ["road", "Straße"], "palette": [[1, 2, 3], [4, 5, 6]], "ignore_index": 9}
    assert Classes.create(**json.loads(json.dumps(stored))) == classes


def test_classes_are_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Classes.create(["a"]).ignore_index = 0


def test_multilabel_classes_keep_their_task_and_thresholds():
    plain = Classes.create(["a", "b"], task="multilabel")
    assert plain.is_multilabel
    assert plain.decision_thresholds == (0.5, 0.5)
    assert plain.mask_shape((4, 5)) == (2, 4, 5)
    fitted = Classes.create(["a", "b"], task="multilabel", thresholds=[0.25, 0.75])
    assert Classes.create(**fitted.to_dict()) == fitted
    assert fitted.decision_thresholds == (0.25, 0.75)


def test_what_multiclass_checkpoints_store_has_not_changed():
    classes = Classes.create(["a", "b"])
    assert set(classes.to_dict()) == {"names", "palette", "ignore_index"}
    assert classes.task == "multiclass"
    assert classes.mask_shape((4, 5)) == (4, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "both"}, "task=both is unknown"),
        ({"task": "multilabel", "ignore_index": 9}, "ignore_index=9"),
        ({"thresholds": [0.5, 0.5]}, "2 thresholds for 2 multiclass classes"),
        ({"task": "multilabel", "thresholds": [0.5]}, "1 thresholds for 2 multilabel classes"),
        ({"task": "multilabel", "thresholds": [0.5, 1.5]}, "must be probabilities"),
    ],
)
def test_tasks_and_thresholds_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Classes.create(["a", "b"], **options)


def test_one_class_per_pixel_is_required_in_one_line():
    Classes.create(["a"]).require_one_class("segnet doubt")
    with pytest.raises(ConfigError, match=r"segnet doubt needs one class per pixel, .*task=multilabel"):
        Classes.create(["a"], task="multilabel").require_one_class("segnet doubt")
