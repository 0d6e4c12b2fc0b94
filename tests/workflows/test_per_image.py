"""per_image.json is read back exactly, and damaged files are refused in one line."""

import json

import numpy as np
import pytest

from segnet.errors import DataError
from segnet.workflows.per_image import ImageCounts


@pytest.fixture
def written(tmp_path):
    counts = np.arange(12).reshape(2, 3, 2)
    counts[0, 0, 0] = 2**40 + 1
    images = ImageCounts(tmp_path / "best.ckpt", "val", ["road", "道路"], ["a/1.png", 'b "2".png'], counts)
    path = tmp_path / "per_image.json"
    images.write(path, [0.5, float("nan")], window=None)
    return images, path


def test_what_is_written_is_read(written):
    images, path = written
    found = ImageCounts.read(path)
    assert (found.source, found.split, found.classes, found.names) == (path, "val", images.classes, images.names)
    np.testing.assert_array_equal(found.counts, images.counts)
    record = json.loads(path.read_text(encoding="utf-8"))
    assert [image["miou"] for image in record["images"]] == [0.5, None]
    assert record["window"] is None
    assert len(path.read_text(encoding="utf-8").splitlines()) == 4  # an image per line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("classes"), "'classes' of the file is missing"),
        (lambda record: record.update(classes=[1]), "'classes' of the file must be the class names"),
        (lambda record: record["images"][1].pop("truth"), r"'truth' of images\[1\] is missing"),
        (lambda record: record["images"][1].update(truth=[1]), "must be a list of 2 pixel counts, one per class"),
        (lambda record: record["images"][0].update(truth=[1, -1]), "must be a list of 2 pixel counts, one per class"),
        (lambda record: record["images"][0].update(truth=[1, 0.5]), "must be a list of 2 pixel counts, one per class"),
        (lambda record: record.update(images=[]), "no images"),
    ],
)
def test_a_damaged_file_is_refused(written, change, message):
    path = written[1]
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(DataError, match=message) as error:
        ImageCounts.read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
