"""Label Studio's brush labels: PNGs of its export and the JSON that says whose they are."""

import json

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.label_studio import LabelStudio
from segnet.errors import DataError

SIZE = (4, 6)
NAMES = ["background", "tree", "palm-tree"]


def stroke(*columns: int) -> np.ndarray:
    """What the export writes: the brush's opacity, 0 or more."""
    layer = np.zeros(SIZE, np.uint8)
    layer[:, list(columns)] = 255
    return layer


@pytest.fixture
def root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("frame 1.jpg", "2.png"):
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / name)
    layers = {
        "task-3-annotation-3-by-1-tag-tree-0": stroke(0, 1),
        "task-3-annotation-3-by-1-tag-tree-1": stroke(2),
        "task-3-annotation-3-by-1-tag-palm-tree-0": stroke(2, 3),
        "task-14-annotation-8-by-me@x.org-brush-1-tree-0": stroke(5),
        "task-14-annotation-9-by-me@x.org-brush-1-palm-tree-0": stroke(4),
    }
    for name, layer in layers.items():
        Image.fromarray(layer).save(tmp_path / "masks" / f"{name}.png")
    tasks = [
        {"id": 3, "data": {"image": "/data/upload/1/61148fa2-frame%201.jpg"}},
        {"id": 14, "data": {"image": "/data/local-files/?d=photos/2.png"}},
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    return tmp_path


def masks(root, **options) -> dict[str, list[int]]:
    """The first row of each mask by the image's name, of both splits."""
    found = {}
    for split in ("train", "val"):
        dataset = LabelStudio(split, str(root), options.pop("class_names", NAMES), **options)
        for index in range(len(dataset)):
            sample = dataset.load(index)
            assert (sample.mask == sample.mask[:1]).all()
            found[sample.name.split("/")[-1]] = sample.mask[0].tolist()
    return found


def test_strokes_join_and_the_last_annotation_counts(root):
    assert masks(root) == {"frame 1.jpg": [1, 1, 2, 2, 0, 0], "2.png": [0, 0, 0, 0, 2, 0]}


def test_unlabeled_pixels_may_be_ignored(root):
    assert masks(root, unlabeled="ignore")["2.png"] == [255, 255, 255, 255, 2, 255]


def test_the_short_form_of_the_export_does_too(root):
    tasks = [{"id": 3, "image": "s3://bucket/frame 1.jpg"}, {"id": 14, "image": "2.png"}]
    (root / "export.json").write_text(json.dumps(tasks))
    assert masks(root)["frame 1.jpg"] == [1, 1, 2, 2, 0, 0]


def test_faults_are_named(root):
    with pytest.raises(DataError, match=r"-tree-0\.png: is of no class \(background, bush\)"):
        LabelStudio("train", str(root), ["background", "bush"])
    Image.fromarray(stroke()).save(root / "masks" / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: is not named task-1-annotation"):
        LabelStudio("train", str(root), NAMES)
    (root / "masks" / "mask.png").rename(root / "masks" / "task-99-annotation-1-by-1-tag-tree-0.png")
    with pytest.raises(DataError, match="task 99 is not in the JSON export"):
        LabelStudio("train", str(root), NAMES)
    (root / "images" / "2.png").unlink()
    with pytest.raises(DataError, match=r"the image '2\.png' of task 14 is not in"):
        LabelStudio("train", str(root), NAMES)
    (root / "export.json").unlink()
    with pytest.raises(DataError, match="has 0 JSON files"):
        LabelStudio("train", str(root), NAMES)


def test_masks_of_another_size_are_refused(root):
    Image.new("L", (5, 5)).save(root / "masks" / "task-3-annotation-3-by-1-tag-tree-0.png")
    Image.new("L", (5, 5)).save(root / "masks" / "task-14-annotation-9-by-me@x.org-brush-1-tree-0.png")
    with pytest.raises(DataError, match="5 x 5 pixels, but its image"):
        LabelStudio("train", str(root), NAMES).load(0)


def test_a_sample_is_remembered_by_its_image_and_its_layers(root):
    datasets = [LabelStudio(split, str(root), NAMES) for split in ("train", "val")]
    files = {file.name for dataset in datasets for file in dataset.files(0)}
    assert len(files) == 2 + 4  # two images; of five layers one is of an older annotation
