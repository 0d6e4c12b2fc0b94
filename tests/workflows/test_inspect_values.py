"""Masks without class names: their values are listed, and the printed options and the written file work."""

import json
import shlex

import numpy as np
import pytest
import yaml
from PIL import Image

import segnet
from segnet import cli
from segnet.errors import DataError

SIZE = (24, 40)
INSTANCES = (np.arange(24 * 40).reshape(SIZE) % 60) * (np.arange(40) < 12)  # 59 objects of 4 or 5 pixels
THREE = np.arange(24 * 40).reshape(SIZE) % 3


def colored(ids):
    return np.array([[0, 0, 0], [128, 0, 0], [0, 128, 0], [224, 224, 192]], np.uint8)[ids]


def write(root, mask, dtype=np.uint8, image_type=np.uint8, top=256):
    """Write two train images and one val image, each with the given mask."""
    for number, split in enumerate(("train", "train", "val")):
        rng = np.random.default_rng(number)
        for kind, values in (("images", rng.integers(0, top, SIZE).astype(image_type)), ("masks", mask.astype(dtype))):
            path = root / kind / split / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)


def inspected(capsys, *options):
    """Run the command; return its exit code and output."""
    with pytest.raises(SystemExit) as caught:
        cli.main(["inspect", *map(str, options)])
    return caught.value.code, capsys.readouterr().out


VOID = np.where(np.arange(40) < 4, 3, THREE)


@pytest.mark.parametrize(
    ("ids", "mask", "names"),
    [
        (THREE > 0, (THREE > 0) * 255, ["background", "foreground"]),
        (INSTANCES > 0, INSTANCES.astype(np.uint16), ["background", "object"]),
        (VOID, np.where(VOID == 3, 255, VOID), ["class_0", "class_1", "class_2"]),
        (VOID, colored(VOID), ["background", "class_1", "class_2"]),
        (THREE, colored(THREE), ["background", "class_1", "class_2"]),
        (THREE, THREE * 100 + 1, ["class_1", "class_101", "class_201"]),
    ],
    ids=["binary", "instances", "void", "colors with void", "colors", "gray levels"],
)
def test_the_printed_options_and_the_written_file_read_the_masks(ids, mask, names, tmp_path, capsys):
    root = tmp_path / "my data"
    write(root, mask, np.uint16 if mask.dtype == np.uint16 else np.uint8, np.uint16, top=200)
    given = ["dataset=folder", f"dataset.root='{root}'", "data.crop_size=512"]
    code, printed = inspected(capsys, *given, f"hydra.run.dir='{tmp_path}/first'", "num_images=2")
    assert code == 0
    lines = printed.splitlines()
    options = lines[1 + next(number for number, line in enumerate(lines) if line.endswith("add these options:"))]
    command = shlex.split(next(line for line in lines if line.startswith("  segnet train --config-dir")))
    assert (tmp_path / "first" / "contact_sheet.png").exists()
    assert '"dataset.value_range=[0,199]" "data.crop_size=[64,64]"' in options
    for name, pasted in (("options", [*given, *shlex.split(options)]), ("file", command[2:])):
        code, printed = inspected(capsys, *pasted, f"hydra.run.dir='{tmp_path}/{name}'", "num_images=0")
        assert (code, "fill" in printed) == (0, False), printed
        record = json.loads((tmp_path / name / "inspection.json").read_text())
        labels = {label["name"]: label["pixels"] for label in record["splits"]["train"]["labels"]}
        counts = {label: 2 * int((ids == number).sum()) for number, label in enumerate(names)}
        assert labels == counts | {"ignored": 2 * 960 - sum(counts.values())}


def test_the_written_file_is_a_dataset_config_with_the_given_options(tmp_path, capsys):
    write(tmp_path / "voc", THREE)
    (tmp_path / "voc" / "masks").rename(tmp_path / "voc" / "labels")
    options = [
        "dataset=folder",
        f"dataset.root={tmp_path}/voc",
        "dataset.masks=labels",
        f"hydra.run.dir={tmp_path}/out",
    ]
    assert inspected(capsys, *options)[0] == 0
    [path] = (tmp_path / "out" / "dataset").iterdir()
    assert path.name == "my_voc.yaml"  # segnet has a dataset named voc
    text = path.read_text()
    assert text.startswith("# @package _global_\n")
    assert yaml.safe_load(text)["dataset"] == {
        "name": "folder",
        "root": str(tmp_path / "voc"),
        "masks": "labels",
        "class_names": ["class_0", "class_1", "class_2"],
    }


def test_masks_without_classes_and_unreadable_files_are_errors(tmp_path, capsys):
    write(tmp_path / "a", np.zeros(SIZE))
    code, printed = inspected(capsys, "dataset=folder", f"dataset.root={tmp_path}/a", f"hydra.run.dir={tmp_path}/out")
    assert code == 3
    assert "error: the masks hold the value 0 alone" in printed
    assert not (tmp_path / "out" / "dataset").exists()
    write(tmp_path / "b", THREE)
    (tmp_path / "b/images/train/0.png").write_bytes(b"no image")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(tmp_path / "b/images/train/1.png")
    report = segnet.inspect("dataset=folder", f"dataset.root={tmp_path}/b", output_dir=tmp_path / "out2").report
    assert report.pixels == {0: 960, 1: 960, 2: 960}  # the pixels of readable masks
    assert [error.rpartition("/")[2][:5] for error in report.errors] == ["0.png", "1.png"]
    with pytest.raises(DataError, match=r"1 more problem"):
        report.require_sound()


def test_images_outside_of_their_range_get_a_value_range(tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    write(tmp_path, THREE)
    for path in sorted((tmp_path / "images").rglob("*.png")):
        tifffile.imwrite(path.with_suffix(".tif"), np.linspace(-40, 60, 960, dtype=np.float32).reshape(SIZE))
        path.unlink()
    report = segnet.inspect("dataset=folder", f"dataset.root={tmp_path}", output_dir=tmp_path / "out").report
    assert report.errors == []
    assert report.value_range == (-40, 60)
    assert report.values.mean[0] == pytest.approx(0.5, abs=1e-3)


def test_options_that_need_class_names_are_refused_without_them(tmp_path, capsys):
    write(tmp_path, THREE)
    with pytest.raises(SystemExit) as caught:
        cli.main(["inspect", "dataset=folder", f"dataset.root={tmp_path}", "dataset.id_map={0:0}"])
    assert caught.value.code == 2
    assert "dataset.id_map needs dataset.class_names" in capsys.readouterr().err


def test_other_verbs_suggest_inspect_for_masks_without_class_names(tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["train", "dataset=folder", f"dataset.root={tmp_path}"])
    assert caught.value.code == 2
    assert "segnet inspect without it lists the values of the masks" in capsys.readouterr().err


def test_declared_nodata_values_of_a_geotiff_are_left_out(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    profile = {"driver": "GTiff", "height": 24, "width": 40, "dtype": "uint8", "nodata": 0}
    for split in ("train", "val"):
        rng = np.random.default_rng(len(split))
        for kind, bands in (("images", rng.integers(1, 256, (4, *SIZE))), ("masks", THREE[None] * 2)):
            path = tmp_path / kind / split / "a.tif"
            path.parent.mkdir(parents=True)
            with rasterio.open(path, "w", count=len(bands), **profile) as file:
                file.write(bands.astype(np.uint8))
    options = ["dataset=geotiff", f"dataset.root={tmp_path}", "dataset.channels=4", "dataset.window=[16,16]"]
    report = segnet.inspect(*options, output_dir=tmp_path / "out").report
    assert report.declared == [0]
    assert report.readings[0].options["id_map"] == {2: 0, 4: 1, 0: "ignore"}
    assert report.choice(report.readings[0])["backbone"] == {"in_channels": 4}
    pasted = [option.strip('"') for option in report.options(report.readings[0]).split()]
    labels = segnet.inspect(*options, *pasted, output_dir=tmp_path / "next").report.splits[0]
    assert labels.pixels == {0: 320, 1: 320, 255: 320}
