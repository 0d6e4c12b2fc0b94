"""`segnet predict`: each image gives a mask of its displayed size, or one error line."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predicting import CLASSES, run, write_noise, written
from tiny import assert_same_classes

from segnet.cli.checkpoints import newest_checkpoint
from segnet.cli.predict import main
from segnet.cli.predict_work import outcome_line
from segnet.errors import ConfigError
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.inference.predictor import Predictor
from segnet.prediction import Outcome
from segnet.prediction.outputs import WRITERS
from segnet.prediction.records import FOLDER_FILES, SAVE_SUFFIXES


def test_good_and_bad_images_in_one_call(folder, checkpoint):
    write_noise("a.png")
    Path(os.fsdecode(b"caf\xe9\nb.png")).write_bytes(write_noise("b.png").read_bytes())
    Path("empty.jpg").write_bytes(b"")
    result = run("a.png", "gone.png", ".", "--checkpoint", checkpoint, cwd=folder)
    assert result.returncode == 6, result.stderr
    errors = result.stderr.splitlines()
    assert errors[0] == "segnet: error: gone.png: no such file"
    assert errors[1] == "segnet: error: empty.jpg: is empty (0 bytes)"
    assert errors[2] == "segnet: 2 of 5 inputs failed"
    assert len(errors) == 3
    lines = result.stdout.splitlines()
    assert lines[0] == f"checkpoint: {checkpoint}"
    assert [line.split(" -> ")[0] for line in lines[1:]] == ["a.png", "b.png", "caf\\udce9\\nb.png"]
    names = [os.fsencode(name) for name in written()]
    stems = (b"a", b"b", b"caf\xe9\nb")
    assert names == sorted(stem + end for stem in stems for end in (b"_mask.png", b"_overlay.png"))


def test_segnet_predict_is_the_same_command(folder, checkpoint):
    write_noise("a.png")
    command = ("-c", "from segnet.cli import main; main()", "predict")
    result = run("a.png", "--checkpoint", checkpoint, cwd=folder, command=command)
    assert (result.returncode, result.stderr) == (0, "")
    assert written() == ["a_mask.png", "a_overlay.png"]


# Results


def test_mask_and_overlay_of_one_file(folder, checkpoint, capsys):
    write_noise("a.png", (33, 47))
    assert main(["a.png", "--checkpoint", str(checkpoint), "--output", "new/results"]) == 0
    assert written("new/results") == ["a_mask.png", "a_overlay.png"]
    mask = read_mask("new/results/a_mask.png")
    assert mask.shape == (33, 47)
    assert mask.max() < 3
    with Image.open("new/results/a_mask.png") as saved:
        assert saved.mode == "P"
        colors = np.asarray(saved.convert("RGB"))
    np.testing.assert_array_equal(colors, np.array(CLASSES.palette, np.uint8)[mask])
    mixed = (read_image("a.png").astype(float) + colors) / 2
    np.testing.assert_allclose(read_image("new/results/a_overlay.png"), mixed, atol=0.51)
    report = capsys.readouterr().out.splitlines()[1]
    printed = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+)%", report)}
    assert sum(printed.values()) == pytest.approx(100, abs=0.2)
    assert printed == {
        name: pytest.approx(100 * (mask == index).mean(), abs=0.06)
        for index, name in enumerate(CLASSES.names)
        if (mask == index).any()
    }


def test_inputs_with_equal_stems_all_get_results(folder, checkpoint):
    for name in ("x/a.png", "y/a.png", "y/b.jpg", "y/b.png"):
        write_noise(name)
    assert main(["x", "y", "--checkpoint", str(checkpoint)]) == 0
    assert [name for name in written() if "mask" in name] == [
        "b.jpg_mask.png",
        "b.png_mask.png",
        "x/a.png_mask.png",
        "y/a.png_mask.png",
    ]


def test_duplicate_inputs_are_segmented_once(folder, checkpoint, capsys):
    write_noise("a.png")
    assert main(["a.png", "./a.png", "*.png", "--checkpoint", str(checkpoint)]) == 0
    assert written() == ["a_mask.png", "a_overlay.png"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_newest_best_checkpoint_is_the_default(folder, checkpoint, capsys):
    for age, run_name in ((300, "2024"), (100, "2023/deeper"), (200, "2025")):
        path = Path("runs", run_name, "best.ckpt")
        path.parent.mkdir(parents=True)
        path.write_bytes(checkpoint.read_bytes() if age == 100 else b"an older one")
        os.utime(path, (10**9 - age, 10**9 - age))
    Path("runs/2025/last.ckpt").write_bytes(b"newer, but not the best")
    assert newest_checkpoint(Path("runs")) == Path("runs/2023/deeper/best.ckpt")
    write_noise("a.png")
    assert main(["a.png"]) == 0
    assert capsys.readouterr().out.startswith("checkpoint: runs/2023/deeper/best.ckpt\n")


def test_class_fractions_are_sorted_and_absent_classes_omitted():
    report = Outcome((Path("p/a_mask.png"), Path("p/a_overlay.png")), {"road": 0.25, "tree": 0.0, "sky": 0.75})
    assert outcome_line(report) == " -> p/a_mask.png, a_overlay.png: sky 75.0%, road 25.0%"
    mixed = Outcome((Path("p/yolo/a.txt"), Path("p/a.json"), Path("p/a.geojson")))
    assert outcome_line(mixed) == " -> p/yolo/a.txt, p/a.json, a.geojson"
    assert outcome_line(Outcome((), {"sky": 1.0}, frames=9)) == ": 9 frames, sky 100.0%"


def test_all_kinds_of_results(folder, checkpoint):
    write_noise("in/deep/a.png", (33, 47))
    assert main(["in", "--checkpoint", str(checkpoint), "--save", ",".join([*WRITERS, "csv"])]) == 0
    own_files = [f"deep/a{SAVE_SUFFIXES[kind]}" for kind in WRITERS if kind not in FOLDER_FILES]
    shared_files = [
        "shares.csv",
        "yolo/labels/train/deep/a.txt",
        *(name for names in FOLDER_FILES.values() for name in names),
    ]
    assert written() == sorted([*own_files, *shared_files])
    mask = read_mask("predictions/deep/a_mask.png")
    stored = np.load("predictions/deep/a_probabilities.npz")
    assert stored["classes"].tolist() == list(CLASSES.names)
    probabilities = stored["probabilities"]
    assert (probabilities.dtype, probabilities.shape) == (np.float16, (3, 33, 47))
    np.testing.assert_allclose(probabilities.astype(float).sum(axis=0), 1, atol=2e-3)
    own = np.take_along_axis(probabilities, mask[None].astype(int), axis=0)[0]
    assert (own >= probabilities.max(axis=0) - 1e-3).all()
    with Image.open("predictions/deep/a_confidence.png") as confidence:
        np.testing.assert_allclose(np.asarray(confidence) / 255, own.astype(float), atol=4e-3)
    np.testing.assert_array_equal(
        read_image("predictions/deep/a_colors.png"), np.array(CLASSES.palette, np.uint8)[mask]
    )
    shapes = json.loads(Path("predictions/deep/a.json").read_text())
    assert (Path("predictions/deep") / shapes["imagePath"]).resolve() == (folder / "in/deep/a.png")


def test_classes_limits_drawing_but_not_the_mask(folder, checkpoint):
    write_noise("a.png", (33, 47))
    chosen = ["--classes", "sky,tree", "--save", "mask,overlay,geojson"]
    assert main(["a.png", "--checkpoint", str(checkpoint), *chosen]) == 0
    mask, overlay = read_mask("predictions/a_mask.png"), read_image("predictions/a_overlay.png")
    assert (mask == 0).any()
    np.testing.assert_array_equal(overlay[mask == 0], read_image("a.png")[mask == 0])
    assert (overlay[mask != 0] != read_image("a.png")[mask != 0]).any()
    features = json.loads(Path("predictions/a.geojson").read_text())["features"]
    assert {feature["properties"]["class"] for feature in features} == {CLASSES.names[i] for i in set(mask.flat) - {0}}
    with pytest.raises(ConfigError, match=r"--classes: 'skye' is no class of this model\. Did you mean 'sky'"):
        main(["a.png", "--checkpoint", str(checkpoint), "--classes", "skye"])


def test_batches_of_any_size_give_the_same_masks(folder, checkpoint):
    for number, size in enumerate([(20, 30), (20, 30), (20, 30), (33, 20), (20, 30)]):
        write_noise(f"in/{number}.png", size)
    for batch in ("1", "2", "4"):
        command = ["in", "--checkpoint", str(checkpoint), "--save", "mask", "--output", batch, "--batch-size", batch]
        assert main(command) == 0
    for name in written("1"):
        for other in ("2", "4"):
            assert (read_mask(f"1/{name}") == read_mask(f"{other}/{name}")).mean() > 0.999


def test_a_scene_keeps_its_ground_control_points(folder, checkpoint, capsys):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    from rasterio.control import GroundControlPoint

    corners = [(0, 0, 10, 50), (0, 70, 10.1, 50), (50, 0, 10, 49.9), (50, 70, 10.1, 49.9)]
    points = [GroundControlPoint(*corner) for corner in corners]
    for name, place in (("a.tif", {"gcps": points, "crs": "EPSG:4326"}), ("b.tif", {})):
        with rasterio.open(name, "w", "GTiff", 70, 50, 3, dtype="uint8", **place) as file:
            file.write(np.zeros((3, 50, 70), np.uint8))
    assert main(["a.tif", "b.tif", "--scene", "--checkpoint", str(checkpoint)]) == 0
    with rasterio.open("predictions/a_mask.tif") as mask:
        found, crs = mask.gcps
    assert [(point.row, point.col, point.x, point.y) for point in found] == corners
    assert crs == rasterio.CRS.from_epsg(4326)
    assert capsys.readouterr().err == "segnet: b.tif: has no georeference; its mask has none either\n"


def test_a_lost_georeference_is_reported(folder, checkpoint, capsys):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 400000, 0, -10, 5700000)}
    with rasterio.open("a.tif", "w", "GTiff", 70, 50, 3, dtype="uint8", **place) as file:
        file.write(np.zeros((3, 50, 70), np.uint8))
    write_noise("b.png")
    write_noise("c.png")
    Path("c.pgw").write_text("1\n0\n0\n-1\n0\n0\n")
    assert main(["a.tif", "b.png", "c.png", "--checkpoint", str(checkpoint)]) == 0
    assert "the georeference of 2 of 3 inputs is not in the results: --scene" in capsys.readouterr().err


def test_phone_and_browser_formats_are_read_and_skipped_files_counted(folder, checkpoint, capsys):
    for name, made in (("a.jpg", "JPEG"), ("b.avif", "AVIF"), ("c.jfif", "JPEG"), ("e.jp2", "JPEG2000")):
        Image.new("RGB", (40, 30), (200, 100, 50)).save(f"{folder / name}", made)
    Path("d.xyz").write_text("x")
    assert main([".", "--checkpoint", str(checkpoint), "--save", "mask"]) == 0
    assert written() == ["a_mask.png", "b_mask.png", "c_mask.png", "e_mask.png"]
    assert "files skipped, no image or video by extension: 1: .xyz (1)" in capsys.readouterr().err


@pytest.mark.parametrize("options", [["--flip"], ["--scales", "0.5", "1.5"], ["--window", "24"]])
def test_flip_scales_and_window_reach_the_predictor(folder, checkpoint, options):
    write_noise("a.png", (70, 60))
    words = [option.removeprefix("--") for option in options]
    given = {words[0]: {"flip": True, "scales": [0.5, 1.5], "window": 24}[words[0]]}
    expected = Predictor(checkpoint, "cpu", **given)("a.png").mask
    assert main(["a.png", "--checkpoint", str(checkpoint), "--device", "cpu", *options]) == 0
    assert_same_classes(read_mask("predictions/a_mask.png"), expected)
