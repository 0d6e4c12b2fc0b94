"""`segnet predict` again: existing results are kept, skipped or refused, also those of several processes."""

import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from predicting import CLASSES, REPOSITORY, checkpoint_of, untrained, write_noise, written
from warm_python import WARM_PYTHON

from segnet.cli.predict import main
from segnet.cli.predict_work import model_digest
from segnet.images.files import read_image
from segnet.images.masks import read_mask
from segnet.inference.predictor import Predictor


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
