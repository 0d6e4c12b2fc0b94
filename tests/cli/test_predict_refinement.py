"""`segnet predict --threshold --refuse --min-area --smooth`: masks, overlays, tables and records agree."""

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from color_model import CLASSES, blotches, install, probabilities_of
from PIL import Image

from segnet.cli.predict import main
from segnet.errors import ConfigError
from segnet.images.masks import read_mask
from segnet.images.video import VideoWriter
from segnet.inference.refinement import Refinement
from segnet.inference.refining import Refiner

OPTIONS = ["--threshold", "blue=0.3", "--refuse", "0.6", "--min-area", "12"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with an image and a checkpoint, which is the model of tests/color_model.py."""
    monkeypatch.chdir(tmp_path)
    install(monkeypatch)
    Path("best.ckpt").write_bytes(b"model")
    Image.fromarray(blotches()).save("a.png")
    return tmp_path


def expected_mask(**options):
    probabilities = torch.tensor(probabilities_of(blotches()), dtype=torch.float32)
    return Refiner(Refinement.read(**options), CLASSES).mask(probabilities)


def predict(*arguments, output="predictions"):
    return main([*arguments, "--checkpoint", "best.ckpt", "--output", output])


def test_everything_written_comes_from_one_mask(folder, capsys):
    assert predict("a.png", *OPTIONS, "--save", "mask,colors,geojson,csv") == 0
    expected = expected_mask(threshold="blue=0.3", refuse=0.6, min_area=12)
    refused = int((expected == 255).sum())
    assert refused
    np.testing.assert_array_equal(read_mask("predictions/a_mask.png"), expected)
    colors = np.array(Image.open("predictions/a_colors.png"))
    np.testing.assert_array_equal((colors == 255).all(axis=2), expected == 255)
    outlined = sum(
        one["properties"]["area"] for one in json.loads(Path("predictions/a.geojson").read_text())["features"]
    )
    assert outlined == expected.size - refused
    head, row = csv.reader(Path("predictions/shares.csv").read_text().splitlines())
    assert head[6:] == ["refused", "red", "green", "blue"]
    shares = [refused / expected.size, *((expected == index).mean() for index in range(3))]
    np.testing.assert_allclose(np.array(row[6:], float), shares, atol=1e-6)
    record = json.loads(Path("predictions/.segnet/a.json").read_text())
    assert record["refused"] == refused
    assert record["job"]["--threshold"] == {"blue": 0.3}
    assert f"refused {100 * shares[0]:.1f}%" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        ["threshold=blue=0.3", "refuse=0.6", "min_area=12"],
        ["--threshold=blue=0.3", "--refuse=0.6", "--min-area=12"],
        ["threshold=[blue=0.3,red=0.9]", "--threshold", "red=0.8", "min-area=12,red=3"],
    ],
)
def test_both_spellings_of_options_are_read(folder, options):
    assert predict("a.png", *options, "--save", "mask") == 0
    several = {"threshold": "blue=0.3,red=0.8", "min_area": "12,red=3"}
    alike = {"threshold": "blue=0.3", "refuse": 0.6, "min_area": 12}
    expected = expected_mask(**(alike if len(options[0]) < 25 else several))
    np.testing.assert_array_equal(read_mask("predictions/a_mask.png"), expected)


def test_results_of_other_options_are_not_reused(folder, capsys):
    assert predict("a.png") == 0
    assert predict("a.png", "--refuse", "0.6") == 3
    assert "made with other options (--refuse)" in capsys.readouterr().err
    assert predict("a.png", "--refuse", "0") == 0
    assert "done already" in capsys.readouterr().out
    assert "refused" not in json.loads(Path("predictions/.segnet/a.json").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--threshold", "bleu=0.3"], "threshold: 'bleu' is no class of this model. Did you mean 'blue'"),
        (["--threshold", "0.3"], "threshold=0.3 names no class"),
        (["--refuse", "70"], "refuse=70 must be a probability, 0-1"),
        (["--min-area", "green"], "min_area=green: write min_area=PIXELS"),
        (["--smooth", "1"], "--smooth 1 must be the weight of earlier frames, 0-0.99"),
    ],
)
def test_wrong_values_end_in_one_line_and_nothing_is_written(folder, options, message):
    with pytest.raises(ConfigError) as error:
        predict("a.png", *options)
    assert str(error.value).startswith(message)
    assert not list(Path("predictions").rglob("*.png"))


def test_small_regions_of_a_scene_cross_its_tiles(folder):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    image = blotches()
    image[:5, :7] = 0  # without data
    profile = {"driver": "GTiff", "count": 3, "height": 60, "width": 80, "dtype": "uint8", "nodata": 0}
    with rasterio.open("a.tif", "w", **profile) as file:
        file.write(image.transpose(2, 0, 1))
    assert predict("a.tif", *OPTIONS, "--scene", "--window", "17") == 0
    by_pixel = Refiner(Refinement.read(threshold="blue=0.3", refuse=0.6), CLASSES)
    pixels = by_pixel.mask(torch.tensor(probabilities_of(image), dtype=torch.float32))
    pixels[:5, :7] = 255
    expected = Refiner(Refinement(min_area=12), CLASSES).by_region(pixels)
    with rasterio.open("predictions/a_mask.tif") as mask:
        np.testing.assert_array_equal(mask.read(1), expected)
        assert (mask.nodata, mask.colormap(1)[2]) == (255, (0, 0, 200, 255))
    assert (expected != pixels).any()
    assert sorted(path.name for path in Path("predictions").iterdir()) == [".segnet", "a_mask.tif"]


def noisy_video(path, count=8):
    """Write a video of a still scene with noise."""
    Path(path).touch()
    writer = VideoWriter(Path(path), 10, path)
    rng = np.random.default_rng(0)
    scene = np.full((48, 64, 3), 90)
    scene[:, 32:, 1] += 14
    for _ in range(count):
        writer.write((scene + 12 * rng.standard_normal(scene.shape)).clip(0, 255).astype(np.uint8))
    writer.close()


def flicker(output):
    masks = [read_mask(path) for path in sorted(Path(output, "clip").glob("*_mask.png"))]
    return np.mean([(one != other).mean() for one, other in pairwise(masks)])


def test_a_smooth_video_flickers_less_and_is_repeated_exactly(folder, capsys):
    noisy_video("clip.mp4")
    save = ["--save", "csv", "--save-frames", "mask"]
    assert predict("clip.mp4", *save, output="plain") == 0
    assert predict("clip.mp4", *save, "--smooth", "0.7", output="smooth") == 0
    assert flicker("plain") > 0.1
    assert flicker("smooth") < flicker("plain") / 2
    # A killed prediction has a record without its frames. It starts again, and gives the same masks.
    shutil.copytree("smooth", "killed")
    record = json.loads(Path("killed/.segnet/clip.json").read_text())
    del record["frames"], record["pixels"]
    Path("killed/.segnet/clip.json").write_text(json.dumps(record))
    for number in (4, 5, 6, 7, 8):
        Path(f"killed/clip/00000{number}_mask.png").unlink()
    assert predict("clip.mp4", *save, "smooth=0.7", output="killed") == 0
    for path in Path("smooth/clip").iterdir():
        assert Path("killed/clip", path.name).read_bytes() == path.read_bytes()
    assert predict("clip.mp4", *save, output="smooth") == 3
    assert "--smooth" in capsys.readouterr().err


def test_formats_without_ignored_pixels_are_named(folder, capsys):
    def warned(*arguments):
        assert main(["a.png", "--checkpoint", "best.ckpt", "--overwrite", *arguments]) == 0
        return [line for line in capsys.readouterr().err.splitlines() if "warning" in line]

    assert warned("--refuse", "0.6", "--save", "mask,geojson") == []
    assert warned("--save", "mask,labelme,cvat") == []
    (line,) = warned("--refuse", "0.6", "--save", "mask,cvat,labelme")
    assert "warning: --refuse 0.6: labelme, cvat cannot mark pixels as ignored" in line
    thresholds = [f"--threshold={name}=0.5" for name in CLASSES.names]
    (line,) = warned(*thresholds, "--save", "labelme")
    assert "warning: --threshold for every class: labelme cannot mark" in line
