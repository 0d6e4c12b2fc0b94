"""Label Studio's brush labels: the PNGs of its export, and the JSON that maps them to images."""

import base64
import json

import numpy as np
import pytest
from PIL import Image

from segnet.data.datasets.label_studio import LabelStudio
from segnet.errors import DataError

SIZE = (4, 6)
NAMES = ["background", "tree", "palm-tree"]


def stroke(*columns: int) -> np.ndarray:
    """Write a PNG as in the export: the brush's opacity, 0 or more."""
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
    """Return the first row of each mask by image name, for both splits."""
    found = {}
    for split in ("train", "val"):
        dataset = LabelStudio(split, str(root), options.pop("class_names", NAMES), **options)
        for index in range(len(dataset)):
            sample = dataset.load(index)
            assert (sample.mask == sample.mask[:1]).all()
            found[sample.name.split("/")[-1]] = sample.mask[0].tolist()
    return found


def test_strokes_are_merged_and_the_last_annotation_is_used(root):
    assert masks(root) == {"frame 1.jpg": [1, 1, 2, 2, 0, 0], "2.png": [0, 0, 0, 0, 2, 0]}


def test_unlabeled_pixels_may_be_ignored(root):
    assert masks(root, unlabeled="ignore")["2.png"] == [255, 255, 255, 255, 2, 255]


def test_the_short_form_of_the_export_is_read(root):
    tasks = [{"id": 3, "image": "s3://bucket/frame 1.jpg"}, {"id": 14, "image": "2.png"}]
    (root / "export.json").write_text(json.dumps(tasks))
    assert masks(root)["frame 1.jpg"] == [1, 1, 2, 2, 0, 0]


def test_faults_are_named(root):
    with pytest.raises(DataError, match=r"-tree-0\.png: is of no class \(background, bush\)"):
        LabelStudio("train", str(root), ["background", "bush"])
    Image.fromarray(stroke()).save(root / "masks" / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: is not named as in the export"):
        LabelStudio("train", str(root), NAMES)
    stray = root / "masks" / "task-99-annotation-1-by-1-tag-tree-0.png"
    (root / "masks" / "mask.png").rename(stray)
    with pytest.raises(DataError, match="task 99 is not in the JSON export"):
        LabelStudio("train", str(root), NAMES)
    stray.unlink()
    (root / "images" / "2.png").unlink()
    with pytest.raises(DataError, match=r"the image '.*2\.png' of task 14 is not in"):
        LabelStudio("train", str(root), NAMES)
    (root / "export.json").unlink()
    with pytest.raises(DataError, match="has 0 JSON files"):
        LabelStudio("train", str(root), NAMES)


def test_masks_of_another_size_are_refused(root):
    Image.new("L", (5, 5)).save(root / "masks" / "task-3-annotation-3-by-1-tag-tree-0.png")
    Image.new("L", (5, 5)).save(root / "masks" / "task-14-annotation-9-by-me@x.org-brush-1-tree-0.png")
    with pytest.raises(DataError, match="5 x 5 pixels, but its image"):
        LabelStudio("train", str(root), NAMES).load(0)


def test_the_cache_key_is_the_image_and_its_layers(root):
    datasets = [LabelStudio(split, str(root), NAMES) for split in ("train", "val")]
    files = {file.name for dataset in datasets for file in dataset.files(0)}
    assert len(files) == 2 + 4 + 1  # two images and the export; of five layers one is of an older annotation


def export(root, *tasks: dict) -> None:
    (root / "export.json").write_text(json.dumps(list(tasks)))


def task(number: int, image: str, *annotations: dict) -> dict:
    return {"id": number, "data": {"image": image}, "annotations": list(annotations)}


def annotation(number: int, *kinds: str, cancelled: bool = False) -> dict:
    return {"id": number, "was_cancelled": cancelled, "result": [{"type": kind} for kind in kinds]}


@pytest.fixture
def cameras(tmp_path):
    """Two images of one name, each with a task; task 3's is black on the left, task 4's on the right."""
    for number, camera in ((3, "cam1"), (4, "cam2")):
        (tmp_path / "images" / camera).mkdir(parents=True)
        Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / camera / "0001.jpg")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(stroke(number)).save(tmp_path / "masks" / f"task-{number}-annotation-1-by-1-t-tree-0.png")
    return tmp_path


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=cam{}/0001.jpg",
        "/data/local-files/?d=cam{}\\0001.jpg",
        "/data/local-files/?d=root/sub/cam{}/0001.jpg",
        "s3://bucket/cam{}/0001.jpg",
        "https://bucket.s3.amazonaws.com/cam{}/0001.jpg?X-Amz-Signature=a/b==",
        "cam{}/0001.jpg",
        "D:\\data\\cam{}\\0001.jpg",
        "http://host/cam{}/0001%2Ejpg#x",
    ],
)
def test_images_of_one_name_are_distinguished_by_their_folders(cameras, address):
    export(cameras, task(3, address.format(1)), task(4, address.format(2)))
    datasets = [LabelStudio(split, str(cameras), NAMES) for split in ("train", "val")]
    found = {sample.name.split("/")[-2]: sample.mask[0].tolist().index(1) for d in datasets for sample in [d.load(0)]}
    assert found == {"cam1": 3, "cam2": 4}


@pytest.mark.parametrize("address", ["0001.jpg", "/data/upload/1/0a1b2c3d-0001.jpg", "s3://bucket/0001.jpg"])
def test_ambiguous_images_are_refused(cameras, address):
    export(cameras, task(3, address), task(4, address))
    with pytest.raises(DataError, match=r"task 3: its image '.*' may be .*cam1/0001\.jpg or .*cam2/0001\.jpg"):
        LabelStudio("train", str(cameras), NAMES)


def test_two_tasks_of_one_image_are_refused(cameras):
    (cameras / "images" / "cam1" / "0001.jpg").rename(cameras / "images" / "0001.jpg")
    export(cameras, task(3, "cam1/0001.jpg"), task(4, "0001.jpg"), task(5, "cam2/0001.jpg"))
    (cameras / "images" / "cam2" / "0001.jpg").unlink()
    with pytest.raises(DataError, match=r"task 4: has the image .*0001\.jpg, and so has task 3"):
        LabelStudio("train", str(cameras), NAMES)


def test_an_image_in_another_folder_than_exported_is_refused(cameras):
    export(cameras, task(3, "cam3/0001.jpg"), task(4, "cam2/0001.jpg"))
    with pytest.raises(DataError, match=r"the image 'cam3/0001\.jpg' of task 3 is not in"):
        LabelStudio("train", str(cameras), NAMES)


def test_file_names_may_contain_characters_of_addresses(root):
    for name in ("a?b#c%20d+e.jpg", "f g+h.jpg"):
        Image.new("RGB", SIZE[::-1]).save(root / "images" / name)
    export(root, task(3, "a?b#c%20d+e.jpg"), task(14, "/data/local-files/?d=f%20g+h.jpg"))
    assert set(masks(root)) == {"a?b#c%20d+e.jpg", "f g+h.jpg"}


def test_presigned_addresses_in_base64_are_read(root):
    address = base64.b64encode(b"s3://bucket/photos/2.png").decode()
    export(root, task(3, "frame 1.jpg"), task(14, f"/tasks/14/presign/?fileuri={address}"))
    assert set(masks(root)) == {"frame 1.jpg", "2.png"}


def test_an_empty_annotation_is_a_background_image(root):
    Image.new("RGB", SIZE[::-1]).save(root / "images" / "none.jpg")
    tasks = [
        task(3, "frame 1.jpg", annotation(3, "brushlabels")),
        task(14, "2.png", annotation(8, "brushlabels"), annotation(10, "choices")),
        task(20, "none.jpg", annotation(12)),
    ]
    export(root, *tasks)
    found = masks(root)
    assert found["none.jpg"] == found["2.png"] == [0] * 6
    Image.fromarray(stroke()).save(root / "masks" / "task-20-annotation-12-by-1-tag-tree-0.png")
    dataset = LabelStudio("train", str(root), ["tree", "palm-tree"])
    assert any("1 task left out, it is annotated as empty" in line for line in dataset.notes.lines())


def test_the_short_form_has_empty_annotations_too(root):
    Image.new("RGB", SIZE[::-1]).save(root / "images" / "none.jpg")
    tasks = [
        {"id": 3, "image": "frame 1.jpg", "annotation_id": 3, "tag": [{"format": "rle"}]},
        {"id": 14, "image": "2.png", "annotation_id": 9, "tag": [{"format": "rle"}]},
        {"id": 15, "image": "none.jpg", "annotation_id": 10, "annotator": 1},
    ]
    export(root, *tasks)
    assert masks(root)["none.jpg"] == [0] * 6


def test_skipped_tasks_and_files_are_counted(root):
    for name in ("3.png", "4.png", "5.png"):
        Image.new("RGB", SIZE[::-1]).save(root / "images" / name)
    (root / "images" / "6.psd").write_bytes(b"")
    tasks = [
        task(3, "frame 1.jpg", annotation(3, "brushlabels", "polygonlabels")),
        task(14, "2.png", annotation(8, "brushlabels"), annotation(9, "brushlabels", cancelled=True)),
        task(20, "3.png", annotation(12, "polygonlabels")),
        task(21, "4.png", annotation(13, cancelled=True)),
        task(22, "5.png"),
    ]
    export(root, *tasks)
    (root / "._export.json").write_bytes(b"\0")
    dataset = LabelStudio("train", str(root), NAMES)
    assert masks(root)["2.png"] == [0, 0, 0, 0, 0, 1]
    source, images = root / "export.json", root / "images"
    assert dataset.notes.lines() == [
        f"{images}: 1 file left out, no image by its ending: 6.psd",
        f"{source}: 1 region left out, neither polygon, rectangle, ellipse nor brush, or without label: task 3",
        f"{source}: 1 task left out, its last annotation has no drawable region: 20",
        f"{source}: 1 task left out, it was skipped: 21",
        f"{source}: 1 task left out, it was not annotated: 22",
        f"{images}: 3 images left out, no annotated task has it: 3.png, 4.png, 5.png",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "the file must be a list"),
        ("[1]", r"entry \[0\] must be an object {...}, not 1"),
        ('[{"data": {"image": "2.png"}}]', r"'id' of entry \[0\] is missing"),
        ('[{"id": 1, "data": []}]', r"'data' of entry \[0\] must be an object"),
        ('[{"id": 1, "data": {"image": 5}}]', "'image' of .*data must be a text, not 5"),
        ('[{"id": 1, "data": {}}]', "'image' of .*data is missing"),
        ('[{"id": 1, "data": {"image": "2.png"}, "annotations": 5}]', "'annotations' of .* must be a list"),
        ('[{"id": 1, "data": {"image": "2.png"}}, {"id": "1", "data": {"image": "3.png"}}]', "two tasks have the id 1"),
        ("", "is empty"),
    ],
)
def test_exports_of_another_type_are_named(root, content, message):
    (root / "export.json").write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        LabelStudio("train", str(root), NAMES)
    assert str(caught.value).startswith(f"{root / 'export.json'}: ")


def test_class_names_with_ambiguous_file_names_are_refused(root):
    with pytest.raises(DataError, match="may be 'palm/tree' and 'palm-tree'"):
        LabelStudio("train", str(root), ["palm/tree", "palm-tree", "tree"])
