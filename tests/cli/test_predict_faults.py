"""`segnet predict` out of memory, out of disk, or with wrong usage."""

import os
from pathlib import Path

import pytest
import torch
from predicting import run, write_noise

from segnet.cli.checkpoints import newest_checkpoint
from segnet.cli.predict import main
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.images.masks import read_mask
from segnet.inference.runtimes.pytorch import TorchRuntime
from segnet.prediction.outputs import WRITERS


def test_a_missing_checkpoint_is_an_error_with_advice(folder):
    write_noise("a.png")
    result = run("a.png", cwd=folder)
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert "Train one with 'python train.py', or set --checkpoint FILE" in result.stderr
    assert result.stdout == ""
    assert os.listdir(folder) == ["a.png"]


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


def test_no_checkpoint_under_runs_is_refused(folder):
    Path("runs/2024").mkdir(parents=True)
    Path("runs/2024/last.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"contains no best\.ckpt") as caught:
        newest_checkpoint(Path("runs"))
    assert str(folder / "runs") in str(caught.value)


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
    monkeypatch.setattr("segnet.images.model_images.read_bands", fail)
    with pytest.raises(IndexError, match="a bug"):
        main(["a.png", "--checkpoint", str(checkpoint)])


def test_a_full_disk_stops_the_command(folder, checkpoint, monkeypatch):
    def fail(*_):
        raise MachineError("predictions/a_mask.png: cannot be written (No space left on device)")

    write_noise("a.png")
    monkeypatch.setitem(WRITERS, "mask", fail)
    with pytest.raises(MachineError, match="No space left"):
        main(["a.png", "--checkpoint", str(checkpoint)])


@pytest.mark.parametrize(("options", "named"), [(["--scales", "1e6"], "scales"), (["--window", "3"], "window")])
def test_impossible_scales_and_windows_are_refused(folder, checkpoint, options, named):
    write_noise("a.png")
    with pytest.raises(ConfigError, match=named):
        main(["a.png", "--checkpoint", str(checkpoint), *options])
