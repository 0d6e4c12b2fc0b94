"""`segnet predict`: each image gives a mask of its displayed size, or one error line."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from predicting import CLASSES, REPOSITORY, checkpoint_of, run, untrained, write_noise, written
from tiny import assert_same_classes
from warm_python import WARM_PYTHON

from segnet.cli.checkpoints import newest_checkpoint
from segnet.cli.predict import main
from segnet.cli.predict_work import model_digest, outcome_line
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.inference.predictor import Predictor
from segnet.inference.runtimes.pytorch import TorchRuntime
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


def test_a_missing_checkpoint_is_an_error_with_advice(folder):
    write_noise("a.png")
    result = run("a.png", cwd=folder)
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "Train one with 'python train.py', or set --checkpoint FILE" in result.stderr
    assert result.stdout == ""
    assert os.listdir(folder) == ["a.png"]


def test_segnet_predict_is_the_same_command(folder, checkpoint):
    write_noise("a.png")
    command = ("-c", "from segnet.cli import main; main()", "predict")
    result = run("a.png", "--checkpoint", checkpoint, cwd=folder, command=command)
    assert (result.returncode, result.stderr) == (0, "")
    assert written() == ["a_mask.png", "a_overlay.png"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--flop", "3"], 2, "--flop is not understood. Did you mean '--flip'? See --help"),
        (
            ["--save", "msak"],
            2,
            "--save: 'msak' is unknown. Did you mean 'mask'? Choose from: coco, colors, confidence",
        ),
        (["--save", "msak"], 2, "overlay, probabilities, yolo. See --help"),
        (["--save", ","], 2, "argument --save: name at least one of mask, overlay"),
        (["--shard", "3/2"], 2, "--shard 3/2: must be i/n with 1 <= i <= n"),
        (["--batch-size", "0"], 2, "--batch-size 0 must be 1 or more"),
        (["--simplify", "nan"], 2, "--simplify nan must be 0 pixels or more"),
        (["--save-frames", "cvat"], 2, "--save-frames cvat: CVAT takes one archive for a video: use --save cvat"),
        (["--scene", "--save", "csv"], 2, "--scene writes only the mask"),
        (["-", "-"], 2, "stdin can be read once only"),
        (["--list", "gone.txt"], 3, "gone.txt: cannot be read as a list of files (No such file"),
        (["--output", "a.png"], 5, "--output a.png: cannot be created"),
        (["--checkpoint", "a.png"], 4, "a.png: is not a checkpoint"),
    ],
)
def test_usage_errors_are_one_line_with_an_exit_code(folder, arguments, code, message):
    write_noise("a.png")
    result = run("a.png", *arguments, cwd=folder)
    assert result.returncode == code
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


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


@pytest.mark.parametrize("existing", ["a_mask.png", "a_overlay.png"])
def test_existing_files_are_kept_without_overwrite(folder, checkpoint, capsys, existing):
    write_noise("a.png")
    write_noise("b.png")
    Path("predictions").mkdir()
    Path("predictions", existing).write_bytes(b"old")
    assert main(["a.png", "b.png", "--checkpoint", str(checkpoint)]) == 6
    error = capsys.readouterr().err
    assert f"predictions/{existing}: exists already, made by something else; --overwrite replaces it" in error
    assert Path("predictions", existing).read_bytes() == b"old"
    assert written() == sorted([existing, "b_mask.png", "b_overlay.png"])
    assert main(["a.png", "b.png", "--checkpoint", str(checkpoint), "--overwrite"]) == 0
    assert read_image(f"predictions/{existing}").shape == (20, 30, 3)
    assert written() == ["a_mask.png", "a_overlay.png", "b_mask.png", "b_overlay.png"]


def test_repeating_the_command_resumes_it(folder, checkpoint, capsys):
    for name in ("in/a.png", "in/b.png", "in/c.png"):
        write_noise(name)
    arguments = ["in", "--checkpoint", str(checkpoint)]
    assert main(arguments) == 0
    before = {name: Path("predictions", name).stat().st_mtime_ns for name in written()}
    Path("predictions/b_mask.png").unlink()
    capsys.readouterr()
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert lines[0] == "in/a.png: done already; --overwrite repeats it"
    assert lines[1].startswith("in/b.png -> predictions/b_mask.png: ")
    after = {name: Path("predictions", name).stat().st_mtime_ns for name in written()}
    assert {name for name in before if before[name] != after[name]} == {"b_mask.png"}
    assert main([*arguments, "--overwrite"]) == 0
    assert all(Path("predictions", name).stat().st_mtime_ns > after[name] for name in after)


def test_results_of_another_model_image_or_option_are_not_reused(folder, checkpoint, capsys):
    write_noise("a.png")
    assert main(["a.png", "--checkpoint", str(checkpoint)]) == 0

    def refusal(*arguments: str) -> str:
        assert main([*arguments]) == 3
        return capsys.readouterr().err

    other = checkpoint_of(3, folder / "other.ckpt")
    assert "made with other options (checkpoint)" in refusal("a.png", "--checkpoint", str(other))
    command = ("--checkpoint", str(checkpoint))
    assert "made with other options (--classes)" in refusal("a.png", *command, "--classes", "tree")
    assert f"made of {folder / 'a.png'};" in refusal(str(write_noise("x/a.png")), *command)
    write_noise("a.png", (8, 9))
    assert "made of an earlier state of this input" in refusal("a.png", *command)
    assert read_mask("predictions/a_mask.png").shape == (20, 30)
    assert main(["a.png", *command, "--overwrite"]) == 0
    assert read_mask("predictions/a_mask.png").shape == (8, 9)


def test_an_output_path_that_is_a_file_is_refused_first(folder):
    write_noise("a.png")
    with pytest.raises(MachineError, match=r"--output a\.png/results: cannot be created or written to"):
        main(["a.png", "--output", "a.png/results", "--checkpoint", "gone.ckpt"])


def test_unknown_device_is_a_configuration_error(folder, checkpoint):
    write_noise("a.png")
    with pytest.raises(ConfigError, match=r"^device 'toaster' cannot be used: name cpu, cuda, cuda:N or mps$"):
        main(["a.png", "--checkpoint", str(checkpoint), "--device", "toaster"])


@pytest.mark.parametrize("arguments", [[], ["a.png", "--no-such-flag"], ["a.png", "--checkpoint"]])
def test_wrong_usage_is_a_configuration_error(arguments):
    with pytest.raises(ConfigError, match=r"predict: .* [Ss]ee --help"):
        main(arguments)


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


def test_no_checkpoint_under_runs_is_refused(folder):
    Path("runs/2024").mkdir(parents=True)
    Path("runs/2024/last.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"contains no best\.ckpt") as caught:
        newest_checkpoint(Path("runs"))
    assert str(folder / "runs") in str(caught.value)


def test_class_fractions_are_sorted_and_absent_classes_omitted():
    report = Outcome((Path("p/a_mask.png"), Path("p/a_overlay.png")), {"road": 0.25, "tree": 0.0, "sky": 0.75})
    assert outcome_line(report) == " -> p/a_mask.png, a_overlay.png: sky 75.0%, road 25.0%"
    mixed = Outcome((Path("p/yolo/a.txt"), Path("p/a.json"), Path("p/a.geojson")))
    assert outcome_line(mixed) == " -> p/yolo/a.txt, p/a.json, a.geojson"
    assert outcome_line(Outcome((), {"sky": 1.0}, frames=9)) == ": 9 frames, sky 100.0%"


def test_the_model_digest_depends_on_content_only(folder):
    Path("a.ckpt").write_bytes(b"weights")
    Path("b.ckpt").write_bytes(b"weights")
    assert model_digest(Path("a.ckpt")) == model_digest(Path("b.ckpt"))
    Path("b.ckpt").write_bytes(b"weightz")
    assert model_digest(Path("a.ckpt")) != model_digest(Path("b.ckpt"))
    for part in ("m.xml", "m.bin"):
        Path(part).write_bytes(b"1")
    before = model_digest(Path("m.xml"))
    Path("m.bin").write_bytes(b"2")
    assert model_digest(Path("m.xml")) != before


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


def test_an_ensemble_has_results_of_its_own(folder, checkpoint, capsys):
    write_noise("a.png")
    other = untrained(folder / "other.ckpt", CLASSES, seed=5)
    arguments = ["a.png", "--device", "cpu", "--save", "mask", "--checkpoint", str(checkpoint)]
    assert main([*arguments, "--checkpoint", str(other)]) == 0
    assert capsys.readouterr().out.startswith(f"checkpoint: {checkpoint}, {other}\n")
    mask = np.array(Image.open("predictions/a_mask.png"))
    np.testing.assert_array_equal(mask, Predictor([checkpoint, other], "cpu")("a.png").mask)
    assert main(arguments) == 3  # results of another model
    assert "made with other options (checkpoint)" in capsys.readouterr().err


def test_shards_process_every_input_once(folder, checkpoint, capsys):
    for number in range(7):
        write_noise(f"in/{number}.png")
    processed = []
    for part in ("1/3", "2/3", "3/3"):
        assert main(["in", "--checkpoint", str(checkpoint), "--shard", part, "--save", "mask,csv"]) == 0
        processed += [line.split(" -> ")[0] for line in capsys.readouterr().out.splitlines() if " -> " in line]
    assert sorted(processed) == [f"in/{number}.png" for number in range(7)]
    table = Path("predictions/shares.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in table] == ["result", *map(str, range(7))]


def test_batches_of_any_size_give_the_same_masks(folder, checkpoint):
    for number, size in enumerate([(20, 30), (20, 30), (20, 30), (33, 20), (20, 30)]):
        write_noise(f"in/{number}.png", size)
    for batch in ("1", "2", "4"):
        command = ["in", "--checkpoint", str(checkpoint), "--save", "mask", "--output", batch, "--batch-size", batch]
        assert main(command) == 0
    for name in written("1"):
        for other in ("2", "4"):
            assert (read_mask(f"1/{name}") == read_mask(f"{other}/{name}")).mean() > 0.999


def test_earlier_results_are_not_inputs(folder, checkpoint, capsys):
    write_noise("a.png")
    write_noise("sub/b.png")
    for _ in range(2):
        assert main([".", "--checkpoint", str(checkpoint), "--output", "."]) == 0
        assert main([".", "--checkpoint", str(checkpoint), "--output", "elsewhere"]) == 0
    assert written("elsewhere") == ["a_mask.png", "a_overlay.png", "sub/b_mask.png", "sub/b_overlay.png"]
    assert "results of earlier predictions skipped: 8" in capsys.readouterr().err


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_cleanly_and_the_same_command_resumes(folder, checkpoint, signum, code):
    whole = write_noise("in/000.png").read_bytes()
    for number in range(1, 400):
        Path(f"in/{number:03d}.png").write_bytes(whole)
    script = [*WARM_PYTHON, str(REPOSITORY / "predict.py"), "in", "--checkpoint", str(checkpoint)]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if " -> " in line:
            break
    process.send_signal(signum)
    _, errors = process.communicate()
    assert process.returncode == code
    assert re.fullmatch(
        r"segnet: \S+ while predicting: \d+ of 400 inputs are done; run the same command to resume\n", errors
    )
    assert not [name for name in written() if name.endswith(".tmp")]
    done = {name for name in written() if name.endswith("_overlay.png")}
    assert 0 < len(done) < 400
    for name in written():
        assert read_image(f"predictions/{name}").shape == (20, 30, 3)
    assert main(["in", "--checkpoint", str(checkpoint)]) == 0
    assert len(written()) == 800


def test_concurrent_predictions_into_one_folder_do_not_conflict(folder, checkpoint):
    for number in range(30):
        write_noise(f"x/{number}.png")
        write_noise(f"y/{number}.png", (40, 50))
    script = [*WARM_PYTHON, str(REPOSITORY / "predict.py"), "--checkpoint", str(checkpoint)]
    both = [
        subprocess.Popen([*script, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for name in "xy"
    ]
    outputs = [process.communicate() for process in both]
    done = [output.count(" -> ") for output, _ in outputs]
    assert sum(done) == 30  # each name belongs to one of the two commands, with both of its files
    assert [process.returncode for process in both] == [0 if n == 30 else 6 if n else 3 for n in done]
    for number in range(30):
        mask, overlay = (read_image(f"predictions/{number}_{kind}.png") for kind in ("mask", "overlay"))
        assert mask.shape == overlay.shape
    assert all("Traceback" not in errors for _, errors in outputs)


def test_out_of_memory_halves_the_batch(folder, checkpoint, monkeypatch, caplog):
    shapes = []

    def run(self, images):
        shapes.append(tuple(images.shape))
        if len(images) > 1 or images.shape[2] > 300:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return original(self, images)

    original = TorchRuntime.__call__
    monkeypatch.setattr(TorchRuntime, "__call__", run)
    for number in range(4):
        write_noise(f"in/{number}.png")
    write_noise("in/9.png", (301, 4))
    assert main(["in", "--checkpoint", str(checkpoint), "--batch-size", "4", "--save", "mask"]) == 0
    assert read_mask("predictions/9_mask.png").shape == (301, 4)
    assert sum(shape[0] > 1 for shape in shapes) == 1
    assert "out of memory with batch size 4: retrying with batch size 1" in caplog.text
    assert "out of memory with 301 x 4 pixels: retrying with windows of 150" in caplog.text


def test_internal_errors_in_a_thread_keep_their_stack_trace(folder, checkpoint, monkeypatch):
    def fail(*_):
        raise IndexError("a bug")

    write_noise("a.png")
    monkeypatch.setattr("segnet.prediction.images.read_bands", fail)
    with pytest.raises(IndexError, match="a bug"):
        main(["a.png", "--checkpoint", str(checkpoint)])


def test_a_full_disk_stops_the_command(folder, checkpoint, monkeypatch):
    def fail(*_):
        raise MachineError("predictions/a_mask.png: cannot be written (No space left on device)")

    write_noise("a.png")
    monkeypatch.setitem(WRITERS, "mask", fail)
    with pytest.raises(MachineError, match="No space left"):
        main(["a.png", "--checkpoint", str(checkpoint)])


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


@pytest.mark.parametrize(("options", "named"), [(["--scales", "1e6"], "scales"), (["--window", "3"], "window")])
def test_impossible_scales_and_windows_are_refused(folder, checkpoint, options, named):
    write_noise("a.png")
    with pytest.raises(ConfigError, match=named):
        main(["a.png", "--checkpoint", str(checkpoint), *options])
