"""`segnet predict`: whatever pictures come in, masks of their displayed size come out, or one line says why not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import components

from segnet.checkpoint import load_checkpoint, save_checkpoint
from segnet.classes import Classes
from segnet.cli.predict import describe, expand, main, newest_checkpoint, output_names
from segnet.config import OptimConfig
from segnet.errors import CheckpointError, ConfigError, DataError, MachineError
from segnet.images import read_image, read_mask
from segnet.task import SegmentationTask

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = Classes.create(["road", "tree", "sky"], [[200, 10, 20], [30, 210, 40], [50, 60, 220]])
MODEL = {
    **components(),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A real checkpoint of an untrained model."""
    torch.manual_seed(0)
    task = SegmentationTask.create(model=MODEL, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig())
    path = tmp_path_factory.mktemp("checkpoint") / "best.ckpt"
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def checkpoint_of(channels: int, path: Path) -> Path:
    """A checkpoint whose images have so many channels."""
    torch.manual_seed(0)
    parts = components()
    model = {**parts, "backbone": {**parts["backbone"], "in_channels": channels}}
    model |= {"mean": [0.02] * channels, "std": [0.01] * channels}
    task = SegmentationTask.create(model=model, classes=CLASSES, loss={"name": "cross_entropy"}, optim=OptimConfig())
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def picture(path: str | Path, size: tuple[int, int] = (20, 30)) -> Path:
    """Writes noise of (height, width)."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)).save(path)
    return path


def written(output: str | Path = "predictions") -> list[str]:
    return sorted(os.listdir(output))


def run(*arguments: object, cwd: Path, command: tuple[str, ...] = ("predict.py",)) -> subprocess.CompletedProcess:
    """The command in a process of its own; a stack trace is always a failure."""
    script = [str(REPOSITORY / command[0])] if command[0].endswith(".py") else list(command)
    result = subprocess.run(
        [sys.executable, *script, *map(os.fsencode, map(str, arguments))],
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    result.stdout, result.stderr = result.stdout.decode(), result.stderr.decode()
    assert "Traceback" not in result.stderr
    return result


# The command, from outside


def test_good_and_bad_pictures_in_one_call(folder, checkpoint):
    picture("a.png")
    Path(os.fsdecode(b"caf\xe9\nb.png")).write_bytes(picture("b.png").read_bytes())
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


def test_without_a_checkpoint_the_way_to_one_is_told(folder):
    picture("a.png")
    result = run("a.png", cwd=folder)
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "Train one with 'python train.py', or name one with --checkpoint FILE" in result.stderr
    assert result.stdout == ""


def test_segnet_predict_is_the_same_command(folder, checkpoint):
    picture("a.png")
    command = ("-c", "from segnet.cli import main; main()", "predict")
    result = run("a.png", "--checkpoint", checkpoint, cwd=folder, command=command)
    assert (result.returncode, result.stderr) == (0, "")
    assert written() == ["a_mask.png", "a_overlay.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--flip", "3"], 2, "unrecognized arguments: --flip 3; see --help"),
        (["--output", "a.png"], 5, "--output a.png: cannot be created"),
        (["--checkpoint", "a.png"], 4, "a.png: is not a checkpoint"),
    ],
)
def test_refusals_are_one_line_with_an_exit_code(folder, arguments, code, message):
    picture("a.png")
    result = run("a.png", *arguments, cwd=folder)
    assert result.returncode == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


# What comes out


def test_mask_and_overlay_of_one_file(folder, checkpoint, capsys):
    picture("a.png", (33, 47))
    assert main(["a.png", "--checkpoint", str(checkpoint), "--output", "new/results"]) == 0
    assert written("new/results") == ["a_mask.png", "a_overlay.png"]
    mask = read_mask("new/results/a_mask.png")
    assert mask.shape == (33, 47)
    assert mask.max() < 3
    with Image.open("new/results/a_mask.png") as saved:
        assert saved.mode == "P"
        colours = np.asarray(saved.convert("RGB"))
    np.testing.assert_array_equal(colours, np.array(CLASSES.palette, np.uint8)[mask])
    mixed = (read_image("a.png").astype(float) + colours) / 2
    np.testing.assert_allclose(read_image("new/results/a_overlay.png"), mixed, atol=0.51)
    report = capsys.readouterr().out.splitlines()[1]
    told = {name: float(share) for name, share in re.findall(r"(\w+) ([\d.]+)%", report)}
    assert sum(told.values()) == pytest.approx(100, abs=0.2)
    assert told == {
        name: pytest.approx(100 * (mask == index).mean(), abs=0.06)
        for index, name in enumerate(CLASSES.names)
        if (mask == index).any()
    }


def kinds() -> dict[str, tuple[Image.Image, dict]]:
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (24, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "grey": (rgb.convert("L"), {}),
        "16-bit": (Image.fromarray(rng.integers(0, 65536, (24, 40)).astype(np.uint16)), {}),
        "alpha": (rgb.convert("RGBA"), {}),
        "palette": (rgb.quantize(7), {}),
        "bilevel": (rgb.convert("1"), {}),
        "turned": (rgb, {"exif": exif}),
        "one pixel": (rgb.crop((0, 0, 1, 1)), {}),
    }


@pytest.mark.parametrize("kind", list(kinds()))
def test_every_kind_of_picture_gives_a_mask_of_its_displayed_size(folder, checkpoint, kind):
    image, options = kinds()[kind]
    image.save("a.png", **options)
    assert main(["a.png", "--checkpoint", str(checkpoint)]) == 0
    width, height = image.size[::-1] if kind == "turned" else image.size
    assert read_mask("predictions/a_mask.png").shape == (height, width)
    assert read_image("predictions/a_overlay.png").shape == (height, width, 3)


def test_a_turned_picture_is_segmented_as_it_is_displayed(folder, checkpoint):
    image, options = kinds()["turned"]
    image.save("turned.png", **options)
    image.transpose(Image.Transpose.ROTATE_270).save("upright.png")
    assert main(["turned.png", "upright.png", "--checkpoint", str(checkpoint)]) == 0
    np.testing.assert_array_equal(read_mask("predictions/turned_mask.png"), read_mask("predictions/upright_mask.png"))


def test_inputs_of_one_stem_all_get_results(folder, checkpoint):
    for name in ("x/a.png", "y/a.png", "y/b.jpg", "y/b.png"):
        picture(name)
    assert main(["x", "y", "--checkpoint", str(checkpoint)]) == 0
    assert [name for name in written() if "mask" in name] == [
        "b.jpg_mask.png",
        "b.png_mask.png",
        "x_a.png_mask.png",
        "y_a.png_mask.png",
    ]


def test_an_input_that_is_named_twice_is_done_once(folder, checkpoint, capsys):
    picture("a.png")
    assert main(["a.png", "./a.png", "*.png", "--checkpoint", str(checkpoint)]) == 0
    assert written() == ["a_mask.png", "a_overlay.png"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_only_bad_pictures_exit_with_3(folder, checkpoint, capsys):
    Path("text.png").write_text("no picture")
    assert main(["text.png", "gone.png", "--checkpoint", str(checkpoint)]) == 3
    assert written() == []
    assert "2 of 2 inputs failed" in capsys.readouterr().err


def test_a_cut_off_picture_gives_no_result(folder, checkpoint):
    picture("good.png")
    whole = picture("bad.jpg", (100, 100)).read_bytes()
    Path("bad.jpg").write_bytes(whole[: len(whole) // 2])
    assert main(["good.png", "bad.jpg", "--checkpoint", str(checkpoint)]) == 6
    assert written() == ["good_mask.png", "good_overlay.png"]


@pytest.mark.parametrize("existing", ["a_mask.png", "a_overlay.png"])
def test_existing_results_are_kept_unless_told_otherwise(folder, checkpoint, capsys, existing):
    picture("a.png")
    picture("b.png")
    Path("predictions").mkdir()
    Path("predictions", existing).write_bytes(b"old")
    assert main(["a.png", "b.png", "--checkpoint", str(checkpoint)]) == 6
    assert f"predictions/{existing}: exists already; --overwrite replaces it" in capsys.readouterr().err
    assert Path("predictions", existing).read_bytes() == b"old"
    assert written() == sorted([existing, "b_mask.png", "b_overlay.png"])
    assert main(["a.png", "b.png", "--checkpoint", str(checkpoint), "--overwrite"]) == 0
    assert read_image(f"predictions/{existing}").shape == (20, 30, 3)
    assert written() == ["a_mask.png", "a_overlay.png", "b_mask.png", "b_overlay.png"]


def test_output_that_is_a_file_is_refused_before_the_checkpoint_is_read(folder):
    picture("a.png")
    with pytest.raises(MachineError, match=r"--output a\.png/results: cannot be created"):
        main(["a.png", "--output", "a.png/results", "--checkpoint", "gone.ckpt"])


def test_unknown_device_is_a_machine_error(folder, checkpoint):
    picture("a.png")
    with pytest.raises(MachineError, match="device 'toaster' cannot be used"):
        main(["a.png", "--checkpoint", str(checkpoint), "--device", "toaster"])


@pytest.mark.parametrize("arguments", [[], ["a.png", "--no-such-flag"], ["a.png", "--checkpoint"]])
def test_wrong_usage_is_a_configuration_error(arguments):
    with pytest.raises(ConfigError, match=r"predict: .*; see --help"):
        main(arguments)


def test_name_that_is_too_long_is_a_bad_input_like_others(folder, checkpoint, capsys):
    picture("a.png")
    assert main(["a.png", "b" * 300 + ".png", "--checkpoint", str(checkpoint)]) == 6
    assert written() == ["a_mask.png", "a_overlay.png"]


# Which pictures, which checkpoint, which names


def test_folder_gives_its_pictures_and_nothing_else(folder):
    for name in ("in/b.png", "in/a.JPG", "in/deeper/c.png"):
        picture(name)
    Path("in/notes.txt").write_text("")
    Path("in/folder.png").mkdir()
    assert expand("in") == [Path("in/a.JPG"), Path("in/b.png")]


def test_globs_are_expanded_here_too(folder):
    for name in ("in/b.png", "in/a.jpg", "in/deeper/c.png"):
        picture(name)
    Path("in/notes.txt").write_text("")
    assert expand("in/*") == [Path("in/a.jpg"), Path("in/b.png")]
    assert expand("in/**/*.png") == [Path("in/b.png"), Path("in/deeper/c.png")]


@pytest.mark.parametrize("name", ["a[1].png", "what?.png", "star*.png"])
def test_existing_file_with_glob_characters_is_taken_as_it_is(folder, name):
    picture("a1.png")
    picture(name)
    assert expand(name) == [Path(name)]


@pytest.mark.parametrize("pattern", ["empty", "empty/*.png"])
def test_folder_or_glob_without_pictures_is_refused(folder, pattern):
    Path("empty").mkdir()
    with pytest.raises(DataError) as caught:
        expand(pattern)
    assert str(caught.value).startswith(f"{pattern}: holds no picture")


def test_newest_best_checkpoint_is_taken_and_named(folder, checkpoint, capsys):
    for age, run_name in ((300, "2024"), (100, "2023/deeper"), (200, "2025")):
        path = Path("runs", run_name, "best.ckpt")
        path.parent.mkdir(parents=True)
        path.write_bytes(checkpoint.read_bytes() if age == 100 else b"an older one")
        os.utime(path, (10**9 - age, 10**9 - age))
    Path("runs/2025/last.ckpt").write_bytes(b"newer, but not the best")
    assert newest_checkpoint(Path("runs")) == Path("runs/2023/deeper/best.ckpt")
    picture("a.png")
    assert main(["a.png"]) == 0
    assert capsys.readouterr().out.startswith("checkpoint: runs/2023/deeper/best.ckpt\n")


def test_no_checkpoint_under_runs_is_refused(folder):
    Path("runs/2024").mkdir(parents=True)
    Path("runs/2024/last.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"holds no best\.ckpt") as caught:
        newest_checkpoint(Path("runs"))
    assert str(folder / "runs") in str(caught.value)


@pytest.mark.parametrize(
    ("inputs", "names"),
    [
        (["x/a.png", "b.jpg"], ["a", "b"]),
        (["a.jpg", "a.png"], ["a.jpg", "a.png"]),
        (["x/a.png", "y/a.png"], ["x_a.png", "y_a.png"]),
        (["/x/a.png", "../y/a.png"], ["x_a.png", "y_a.png"]),
    ],
)
def test_results_are_named_after_their_inputs(inputs, names):
    assert list(output_names([Path(path) for path in inputs]).values()) == names


@pytest.mark.parametrize(
    "inputs",
    [
        ["a.jpg", "a.png", "a.jpg.png"],
        ["x/b_a.png", "x_b/a.png", "x_b/b_a.png", "x/a.png", "x/b/a.png"],
        ["../x/a.png", "x/a.png", "/x/a.png", "../../x/a.png"],
    ],
)
def test_no_two_inputs_share_a_name(inputs):
    names = list(output_names([Path(path) for path in inputs]).values())
    assert len(set(names)) == len(inputs)


def test_shares_are_told_from_the_largest_and_absent_classes_left_out():
    assert describe({"road": 0.25, "tree": 0.0, "sky": 0.75}) == "sky 75.0%, road 25.0%"


def test_a_model_of_grey_images_gets_all_16_bits(folder, capsys):
    """The values differ by less than one of 256 levels: as 8 bits all pixels would be alike."""
    checkpoint = checkpoint_of(1, folder / "best.ckpt")
    values = np.random.default_rng(0).integers(1000, 1100, (40, 48)).astype(np.uint16)
    Image.fromarray(values).save("a.png")
    assert main(["a.png", "--checkpoint", str(checkpoint)]) == 0
    model, _ = load_checkpoint(checkpoint)
    images = torch.tensor(values / 257, dtype=torch.float32)[None, None]
    with torch.inference_mode():
        expected = model(images)[0].argmax(dim=0).numpy()
    assert len(np.unique(expected)) > 1
    assert (read_mask("predictions/a_mask.png") == expected).mean() > 0.999  # rounding of float32
    assert read_image("predictions/a_overlay.png").shape == (40, 48, 3)


def test_a_model_of_many_bands_reads_them_and_names_pictures_that_have_fewer(folder, capsys):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is an optional package, and not installed")
    checkpoint = checkpoint_of(8, folder / "best.ckpt")
    values = np.random.default_rng(0).integers(0, 3000, (40, 48, 8)).astype(np.uint16)
    tifffile.imwrite("a.tif", values, photometric="minisblack", planarconfig="contig")
    picture("b.png")
    assert main(["a.tif", "b.png", "--checkpoint", str(checkpoint)]) == 6
    model, _ = load_checkpoint(checkpoint)
    images = torch.tensor(values / 257, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = model(images)[0].argmax(dim=0).numpy()
    assert (read_mask("predictions/a_mask.png") == expected).mean() > 0.999
    assert "b.png: has 3 channels, but 8 are asked for" in capsys.readouterr().err


def test_a_scene_becomes_a_mask_that_lies_where_it_does(folder, checkpoint, capsys):
    rasterio = pytest.importorskip("rasterio", reason="rasterio is an optional package, and not installed")
    values = np.random.default_rng(0).integers(0, 256, (3, 50, 70)).astype(np.uint8)
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 400000, 0, -10, 5700000)}
    with rasterio.open("a.tif", "w", "GTiff", 70, 50, 3, dtype="uint8", **place) as file:
        file.write(values)
    picture("b.png")
    arguments = ["a.tif", "b.png", "--scene", "--tile", "32", "--checkpoint", str(checkpoint)]
    assert main(arguments) == 6
    assert written() == ["a_mask.tif"]
    with rasterio.open("predictions/a_mask.tif") as mask:
        assert (mask.shape, mask.crs, mask.transform) == ((50, 70), rasterio.CRS.from_epsg(32632), place["transform"])
        assert set(np.unique(mask.read(1))) <= {0, 1, 2}
    assert "b.png: cannot be read as a GeoTIFF" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="--tile 0"):
        main(["a.tif", "--scene", "--tile", "0"])
