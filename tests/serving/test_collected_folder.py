"""The folder of collected images: who may use it, names under concurrency, files that were left by a kill."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("httpx")
from PIL import Image
from served import CLASSES, encoded, halves

from segnet.classes import Classes
from segnet.errors import ConfigError, MachineError
from segnet.serving.collection import AlreadyCollectedError, Collection, discard_empty, require_writable

IMAGE = encoded(halves())
LABELS = np.array([[0] * 5 + [1] * 4 + [255]] * 6, np.uint8)
MASK = encoded(LABELS)


def test_concurrent_saves_get_names_of_their_own(tmp_path):
    """Two servers share a folder: each image is there once, with its own mask."""
    require_writable(tmp_path)
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    servers = [Collection(tmp_path, CLASSES) for _ in range(4)]
    barrier = threading.Barrier(4)

    def save(number):
        path = uploads / str(number)
        path.write_bytes(encoded(np.full((4, 4, 3), number, np.uint8)))
        barrier.wait(60)
        return servers[number % 4].save(path, np.full((4, 4), number % 3), "same.png")

    with ThreadPoolExecutor(4) as pool:
        saved = list(pool.map(save, range(24)))
    assert len({one.name for one in saved}) == 24
    for number, one in enumerate(saved):
        assert (np.array(Image.open(tmp_path / one.image)) == number).all()
        assert (np.array(Image.open(tmp_path / one.mask)) == number % 3).all()
    assert servers[0].lonely() == []
    assert servers[0].count == 24


def test_a_folder_of_other_classes_is_refused(tmp_path):
    require_writable(tmp_path)
    Collection(tmp_path, CLASSES)
    assert Collection(tmp_path, Classes.create(CLASSES.names)).count == 0  # colors may differ
    with pytest.raises(ConfigError, match=r'--collect .*: its segnet.json has class_names=.* the model has \["a"\]'):
        Collection(tmp_path, Classes.create(["a"]))
    with pytest.raises(ConfigError, match="has channels=3, the model has 4: name another folder"):
        Collection(tmp_path, CLASSES, channels=4)
    (tmp_path / "segnet.json").write_text("{")
    with pytest.raises(ConfigError, match=r"segnet.json: cannot be read"):
        Collection(tmp_path, CLASSES)


def test_a_folder_of_other_files_is_refused(tmp_path):
    require_writable(tmp_path)
    (tmp_path / "images/a.png").write_bytes(IMAGE)
    with pytest.raises(ConfigError, match=r"holds images or masks, but no segnet\.json"):
        Collection(tmp_path, CLASSES)
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        require_writable(tmp_path / "images/a.png")
    with pytest.raises((ConfigError, MachineError), match=r"--collect .*: cannot be written to \(Not a directory\)"):
        require_writable(tmp_path / "images/a.png/below")


def test_files_without_partner_are_listed(tmp_path):
    require_writable(tmp_path)
    collection = Collection(tmp_path, CLASSES)
    upload = tmp_path / "upload"
    upload.write_bytes(IMAGE)
    collection.save(upload, LABELS, "a")
    (tmp_path / "masks/b.png").write_bytes(MASK)
    (tmp_path / "images/.hidden.tmp").write_bytes(b"")
    assert collection.lonely() == ["masks/b.png"]
    assert collection.save(upload.with_name("upload"), LABELS, "b").name == "b-2"
    with pytest.raises(AlreadyCollectedError, match="as a: replace=a"):
        collection.save(upload, LABELS, "a")


def test_only_empty_folders_are_discarded(tmp_path):
    require_writable(tmp_path / "a")
    (tmp_path / "a/masks/kept.png").touch()
    discard_empty(tmp_path / "a")
    assert [path.name for path in (tmp_path / "a").rglob("*")] == ["masks", "kept.png"]
    require_writable(tmp_path / "b")
    discard_empty(tmp_path / "b")
    assert not (tmp_path / "b").exists()
