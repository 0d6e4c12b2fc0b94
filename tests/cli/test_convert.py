"""`segnet convert`: converts a foreign model, or ends in one error line without output."""

import os
import subprocess
from pathlib import Path

import mmseg_reference as mmseg
import numpy as np
import pytest
import torch
from PIL import Image
from warm_python import WARM_PYTHON

from segnet.class_sets import CITYSCAPES_CLASSES
from segnet.cli.convert import main
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.models.checkpoint import load_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A file in mmsegmentation's format, without classes."""
    model = mmseg.EncoderDecoder(block=mmseg.Bottleneck, depths=[1, 1, 1, 1])
    path = tmp_path_factory.mktemp("original") / "deeplabv3plus_r50-d8.pth"
    torch.save({"meta": {}, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def segnet(*arguments: object) -> subprocess.CompletedProcess:
    """Run the command in a subprocess; a stack trace is a failure."""
    result = subprocess.run(
        [*WARM_PYTHON, "-m", "segnet", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
    )
    assert "Traceback" not in result.stderr
    return result


def test_a_converted_model_predicts(folder, original):
    result = segnet("convert", original, "--classes", "cityscapes", "--output", "model.ckpt")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{original}: 19 classes, ")
    assert lines[1].startswith("assuming --output-stride 8 --multi-grid none: weights do not record them")
    assert lines[2] == "checkpoint: model.ckpt"
    assert "auxiliary head are not used" in result.stderr
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)).save("a.png")
    result = segnet("predict", "a.png", "--checkpoint", "model.ckpt")
    assert result.returncode == 0, result.stderr
    with Image.open("predictions/a_mask.png") as mask:
        assert mask.size == (47, 33)
        assert bytes(mask.getpalette()[: 3 * 19]) == bytes(np.array(CITYSCAPES_CLASSES.palette, np.uint8))


def test_a_pickle_with_a_call_is_refused_without_running_it(folder):
    class Hidden:
        def __reduce__(self):
            return open, (str(folder / "ran"), "w")

    torch.save({"state_dict": Hidden()}, "evil.pth")
    result = segnet("convert", "evil.pth", "--classes", "cityscapes", "--output", "model.ckpt")
    assert result.returncode == 4
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("segnet: error: evil.pth: contains other objects than tensors and plain values")
    assert os.listdir() == ["evil.pth"]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {"output_stride": 8, "multi_grid": None, "align_corners": False}),
        (
            ["--output-stride", 16, "--multi-grid", "2"],
            {"output_stride": 16, "multi_grid": [2], "align_corners": False},
        ),
        (["--align-corners"], {"output_stride": 8, "multi_grid": None, "align_corners": True}),
    ],
)
def test_options_set_what_weights_do_not_record(folder, original, options, settings):
    main([*map(str, [original, "--classes", "cityscapes", "--output", "model.ckpt", *options])])
    spec = torch.load("model.ckpt", weights_only=True)["hyper_parameters"]["model"]
    assert spec["backbone"]["output_stride"] == spec["decoder"]["output_stride"] == settings["output_stride"]
    assert spec["backbone"]["multi_grid"] == settings["multi_grid"]
    assert spec["decoder"]["align_corners"] == settings["align_corners"]
    assert load_checkpoint("model.ckpt")[0].output_stride == settings["output_stride"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (["--output", "model.pth"], ConfigError, "--output model.pth: a checkpoint's name ends in .ckpt"),
        (["--output", "gone/model.ckpt"], MachineError, "--output gone/model.ckpt: folder .*gone does not exist"),
        (["--output", "taken.ckpt"], ConfigError, "--output taken.ckpt: exists already; --overwrite replaces it"),
        ([], ConfigError, "--output"),
        (["--output", "m.ckpt", "--multi-grid", "1;2"], ConfigError, "--multi-grid 1;2: must be none or factors"),
        (["--output", "m.ckpt", "--output-stride", "4"], ConfigError, "--output-stride"),
        (["--output", "m.ckpt", "--multi-grid", "1,2,0"], ConfigError, "--multi-grid 1,2,0: must be none or factors"),
        (["--output", "m.ckpt", "--classes", "city"], ConfigError, "--classes city: no such dataset"),
        (["--output", "m.ckpt", "--classes", "a,b"], CheckpointError, "has 19 classes, but --classes names 2: a, b"),
    ],
)
def test_wrong_options_are_reported_and_nothing_is_written(folder, original, options, error, words):
    Path("taken.ckpt").write_bytes(b"mine")
    with pytest.raises(error, match=words):
        main([str(original), *(["--classes", "cityscapes"] if "--classes" not in options else []), *options])
    assert os.listdir() == ["taken.ckpt"]
    assert Path("taken.ckpt").read_bytes() == b"mine"


@pytest.mark.parametrize("options", [["--classes", "city"], ["--multi-grid", "1,2,0"]], ids=" ".join)
def test_wrong_options_are_reported_before_the_file_is_read(folder, options):
    with pytest.raises(ConfigError, match=f"^{options[0]}"):
        main(["gone.pth", "--output", "m.ckpt", *options])


def test_overwrite_replaces(folder, original):
    Path("model.ckpt").write_bytes(b"old")
    main([str(original), "--classes", "cityscapes", "--output", "model.ckpt", "--overwrite"])
    assert load_checkpoint("model.ckpt")[1] == CITYSCAPES_CLASSES


def test_a_missing_file_is_named(folder):
    with pytest.raises(CheckpointError, match=r"gone\.pth: no such file"):
        main(["gone.pth", "--classes", "cityscapes", "--output", "model.ckpt"])
