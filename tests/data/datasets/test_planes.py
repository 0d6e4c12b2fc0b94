"""Multilabel masks: values, channels, pages, arrays, and the errors about them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet.classes import Classes
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.planes import PlaneLabels
from segnet.errors import ConfigError, DataError
from segnet.images.files import write_planes

NAMES = ["a", "b", "c"]
CLASSES = Classes.create(NAMES, task="multilabel")
PLANES = np.random.default_rng(0).integers(0, 2, (3, 5, 7)).astype(np.uint8)


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def written(tmp_path: Path, kind: str) -> Path:
    channels_last = np.moveaxis(PLANES, 0, 2)
    if kind == "png":
        return save(tmp_path / "a.png", channels_last * 255)
    if kind == "opaque rgba":
        alpha = np.full((5, 7, 1), 255, np.uint8)
        return save(tmp_path / "a.png", np.concatenate([channels_last * 7, alpha], axis=2))
    if kind == "pages":
        write_planes(tmp_path / "a.tif", PLANES, NAMES)
        return tmp_path / "a.tif"
    if kind == "npy, planes first":
        return save(tmp_path / "a.npy", PLANES.astype(bool))
    return save(tmp_path / "a.npy", channels_last.astype(np.float32))


@pytest.mark.parametrize("kind", ["png", "opaque rgba", "pages", "npy, planes first", "npy, planes last"])
def test_a_file_with_a_channel_per_class(tmp_path, kind):
    found = PlaneLabels(CLASSES).read(written(tmp_path, kind))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, PLANES)


def test_255_is_ignored_where_the_id_map_says_so(tmp_path):
    values = np.array([[0, 1, 255], [128, 0, 255]], np.uint8)
    labels = PlaneLabels(Classes.create(["a"], task="multilabel"), {0: 0, 255: "ignore", "other": 1})
    np.testing.assert_array_equal(labels.read(save(tmp_path / "a.png", values)), [[[0, 1, 255], [1, 0, 255]]])
    strict = PlaneLabels(Classes.create(["a"], task="multilabel"), {0: 0, 1: 1})
    with pytest.raises(DataError, match=r"a\.png: class .a.: value 128 .* is not in dataset\.id_map"):
        strict.read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(35, dtype=np.uint8).reshape(5, 7) % 4, r"has one channel, but there are 3 classes"),
        (np.zeros((5, 7, 4), np.uint8), r"has 4 channels, but there are 3 classes"),
        (np.arange(105, dtype=np.uint8).reshape(5, 7, 3), r"class 'a': has the values .* state their meaning"),
    ],
)
def test_masks_of_class_ids_are_refused_in_one_line(tmp_path, values, message):
    with pytest.raises(DataError, match=message) as error:
        PlaneLabels(CLASSES).read(save(tmp_path / "a.png", values))
    assert "leave out task=multilabel" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00garbage"])
def test_damaged_arrays_are_refused(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npy: cannot be read as a NumPy array"):
        PlaneLabels(CLASSES).read(tmp_path / "a.npy")


def dataset(root: Path, **options) -> Folder:
    return Folder("train", str(root), NAMES, task="multilabel", **options)


def test_a_file_per_class_through_the_dataset(tmp_path):
    for number in range(3):
        save(tmp_path / f"images/{number}.png", np.zeros((5, 7, 3), np.uint8))
        for name, plane in zip(NAMES[:2], PLANES, strict=False):
            save(tmp_path / f"masks/{number}_{name}.png", plane * 255)
    found = dataset(tmp_path, val_fraction=0.3)
    assert found.classes.is_multilabel
    sample = found.load(0)
    np.testing.assert_array_equal(sample.mask, np.stack([*PLANES[:2], np.zeros((5, 7), np.uint8)]))
    assert [path.name for path in found.files(0)] == [
        Path(sample.name).name,
        *(f"{Path(sample.name).stem}_{name}.png" for name in NAMES[:2]),
    ]


def test_masks_of_other_sizes_are_refused(tmp_path):
    for number in range(2):
        save(tmp_path / f"images/{number}.png", np.zeros((5, 7, 3), np.uint8))
        save(tmp_path / f"masks/{number}_a.png", PLANES[0])
        save(tmp_path / f"masks/{number}_b.png", PLANES[1][:, :4])
    with pytest.raises(DataError, match=r"_b\.png: 4 x 5 pixels, but .*_a\.png has 7 x 5"):
        dataset(tmp_path).load(0)
    for number in range(2):
        save(tmp_path / f"masks/{number}_a.png", PLANES[0][:, :4])
    with pytest.raises(DataError, match=r"4 x 5 pixels, but its image .* has 7 x 5"):
        dataset(tmp_path).load(0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color_map": "palette", "palette": [[0, 0, 0]] * 3}, "color_map is for masks of one class per pixel"),
        ({"ignore_index": 9}, r'write "dataset\.id_map=\{0:0,9:ignore,other:1\}"'),
        ({"id_map": {0: "b"}}, "'b' is not a class"),
    ],
)
def test_options_of_class_ids_are_refused(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        dataset(tmp_path, **options)


def test_an_unknown_task_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="task=both is unknown: choose from multiclass, multilabel"):
        Folder("train", str(tmp_path), NAMES, task="both")
