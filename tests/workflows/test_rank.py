"""`segnet rank`: which images are ranked and in which order, its files, and the images it leaves out."""

import csv
import json
import os

import numpy as np
import pytest
from PIL import Image
from predicting import untrained, write_noise

from segnet.classes import Classes
from segnet.cli.rank import main
from segnet.data import build_dataset
from segnet.errors import CheckpointError, ConfigError, DataError
from segnet.images.files import read_image
from segnet.inference.uncertainty import Observer
from segnet.workflows.rank import images_to_rank
from segnet.workflows.rank_order import order_by_diversity

CLASSES = Classes.create(["road", "tree", "sky"])


def write_image(path, seed, size=(24, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    low = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(low).resize(size[::-1]).save(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A checkpoint, a pool of eight images with two in a subfolder, and a dataset of two labeled images."""
    top = tmp_path_factory.mktemp("rank")
    untrained(top / "model.ckpt", CLASSES)
    for index in range(8):
        write_image(top / "pool" / ("more" if index > 5 else "") / f"{index}.png", index)
    for index in range(2):
        write_image(top / "labeled" / "images" / "train" / f"{index}.png", 100 + index)
        mask = top / "labeled" / "masks" / "train" / f"{index}.png"
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(mask)
    return top


def labeled(place):
    names = "dataset.class_names=[road,tree,sky]"
    return ["dataset=folder", f"dataset.root={place / 'labeled'}", names, "splits=[train]"]


def ranked(place, out, *options, pool=None, code=0):
    arguments = [str(pool or place / "pool"), "--checkpoint", str(place / "model.ckpt"), "device=cpu", *options]
    assert main([*arguments, f"hydra.run.dir={out}"]) == code
    return json.loads((out / "rank.json").read_text())


@pytest.mark.parametrize("method", ["diversity", "entropy+diversity"])
def test_images_far_from_labeled_ones_are_chosen(place, tmp_path, capsys, method):
    options = [] if method == "diversity" else [f"method={method}"]  # the default
    record = ranked(place, tmp_path / "out", *labeled(place), "number=3", *options)
    observer = Observer(str(place / "model.ckpt"), "cpu")
    paths = sorted((place / "pool").rglob("*.png"))
    found = [observer.observe([read_image(path)])[0] for path in paths]
    dataset = build_dataset(
        {"name": "folder", "root": str(place / "labeled"), "class_names": list(CLASSES.names)}, "train"
    )
    seeds = np.stack([observer.describe([dataset.load(index).image])[0] for index in range(2)])
    scores = [one.scores["entropy"] for one in found]
    expected = order_by_diversity(
        np.stack([one.features for one in found]), seeds, 3, None if method == "diversity" else scores
    )
    assert [image["path"] for image in record["images"]] == [str(paths[index]) for index, _ in expected]
    assert [image["value"] for image in record["images"]] == pytest.approx([value for _, value in expected], rel=1e-4)
    assert record["images"][0]["entropy"] == pytest.approx(scores[expected[0][0]], rel=1e-6)
    assert (record["num_labeled"], record["num_left_out"], record["failed"]) == (2, 0, {})
    assert (tmp_path / "out" / "rank.txt").read_text().split() == [image["path"] for image in record["images"][:3]]
    with open(tmp_path / "out" / "rank.csv", newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [image["path"] for image in record["images"]]
    page = (tmp_path / "out" / "rank.html").read_text()
    assert (page.count("<figure>"), page.count("data:image/")) == (3, 9)
    assert page.index(record["images"][0]["path"]) < page.index(record["images"][1]["path"])
    output = capsys.readouterr().out
    assert f"3 of 8 images chosen by {method}" in output
    assert f"files to label next: {tmp_path / 'out' / 'rank.txt'}" in output


@pytest.mark.parametrize("method", ["entropy", "margin", "bald"])
def test_uncertainty_alone_ranks_by_its_score(place, tmp_path, method):
    images = ranked(place, tmp_path / "out", "splits=[]", f"method={method}", "num_images=0")["images"]
    scores = [image[method] for image in images]
    assert scores == sorted(scores, reverse=True)
    assert [image["value"] for image in images] == scores
    assert len(set(scores)) == 8  # bald has several views without being asked


def test_random_depends_on_the_seed_alone(place, tmp_path):
    orders = [
        [image["path"] for image in ranked(place, tmp_path / str(number), "splits=[]", "method=random", seed)["images"]]
        for number, seed in enumerate(["seed=1", "seed=1", "seed=2"])
    ]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_the_list_of_chosen_images_can_be_read_again(place, tmp_path):
    chosen = [item.path for item in images_to_rank([str(place / "pool")])[0]][:2]
    (tmp_path / "rank.txt").write_text("".join(f"{path}\n" for path in chosen))
    items, _ = images_to_rank([f"@{tmp_path / 'rank.txt'}"], root="/")
    assert [item.path for item in items] == chosen
    assert not any(item.problem for item in items)


def test_labeled_repeated_and_unreadable_images_are_left_out(place, tmp_path, capsys):
    pool = tmp_path / "pool"
    good = write_noise(pool / "good.png")
    (pool / "again.png").write_bytes(good.read_bytes())
    inside = place / "labeled" / "images" / "train" / "0.png"
    (pool / "copied.png").write_bytes(inside.read_bytes())
    os.symlink(place / "labeled" / "images" / "train" / "1.png", pool / "linked.png")
    (pool / "broken.jpg").write_bytes(b"no image")
    record = ranked(place, tmp_path / "out", *labeled(place), pool=pool, code=6)
    assert len(record["images"]) == 1
    assert (record["num_left_out"], record["num_repeated"]) == (2, 1)
    assert list(record["failed"]) == [str(pool / "broken.jpg")]
    captured = capsys.readouterr()
    assert f"segnet: error: {pool / 'broken.jpg'}" in captured.err
    assert "1 of 1 images chosen by diversity, 2 labeled already, 1 repeated, 1 failed" in captured.out


def test_the_images_of_the_run_count_as_labeled(run, tmp_path):
    """Checkpoint of a run on shapes: its dataset has no files, but pixels."""
    config = {"name": "shapes", "num_train": 16, "num_val": 5, "size": [48, 40]}
    Image.fromarray(build_dataset(config, "val").load(0).image).save(tmp_path / "known.png")
    write_noise(tmp_path / "new.png")
    pool, checkpoint = f"{tmp_path}/*.png", run[0] / "best.ckpt"
    assert main([pool, str(checkpoint), "device=cpu", f"hydra.run.dir={tmp_path / 'out'}"]) == 0
    record = json.loads((tmp_path / "out" / "rank.json").read_text())
    assert (record["num_labeled"], record["num_left_out"]) == (21, 1)
    assert [os.path.basename(image["path"]) for image in record["images"]] == ["new.png"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["method=entropie"], ConfigError, "method=entropie is unknown. Did you mean 'entropy'"),
        (["number=0"], ConfigError, "number=0 must be 1 or more"),
        (["num_images=-1"], ConfigError, "num_images=-1 must be 0 or more"),
        (["checkpoint=none.ckpt"], CheckpointError, "none.ckpt"),
    ],
)
def test_impossible_options_are_refused(place, tmp_path, options, error, message):
    model = [] if options[0].startswith("checkpoint=") else [str(place / "model.ckpt")]
    with pytest.raises(error, match=message):
        main([str(place / "pool"), *model, *options, "splits=[]", "device=cpu", f"hydra.run.dir={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()


def test_a_pool_without_a_usable_image_is_refused(place, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "clip.mp4").write_bytes(b"no image")
    end = [str(place / "model.ckpt"), "device=cpu", f"hydra.run.dir={tmp_path / 'out'}"]
    with pytest.raises(DataError, match=r"none of the images \(1\) can be ranked: 1 cannot be read"):
        main([str(tmp_path / "broken.png"), *end, "splits=[]"])
    with pytest.raises(DataError, match="no image; videos skipped: 1"):
        main([str(tmp_path / "clip.mp4"), *end, "splits=[]"])
    with pytest.raises(DataError, match="all are labeled already; splits=\\[\\] ranks them anyway"):
        main([str(place / "labeled" / "images"), *end, *labeled(place)])
    with pytest.raises(ConfigError, match="rank: no image; name a folder"):
        main([*end, "splits=[]"])
    with pytest.raises(ConfigError, match="camera 0: rank takes image files"):
        main(["0", *end, "splits=[]"])
    assert not (tmp_path / "out").exists()


def test_12_bit_images_in_16_bit_files_warn_once(place, tmp_path, caplog):
    (tmp_path / "pool").mkdir()
    for index in range(2):
        values = np.random.default_rng(index).integers(0, 4096, (24, 32)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / "pool" / f"{index}.png")
    ranked(place, tmp_path / "out", "number=1", pool=tmp_path / "pool")
    assert sum("almost black to a model without a value range" in text for text in caplog.messages) == 1
