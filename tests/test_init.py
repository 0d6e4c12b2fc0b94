"""The public API: names of `segnet`, lazy imports, and types for consumers."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import segnet

PUBLIC = {
    "Config": "segnet.config",
    "Predictor": "segnet.inference.predictor",
    "Refinement": "segnet.inference.refinement",
    "Segmentation": "segnet.inference.segmentation",
    "SegmentationModel": "segnet.models.segmentation_model",
    "Smoothing": "segnet.inference.smoothing",
    "__version__": None,
    "average": "segnet.api",
    "compare": "segnet.api",
    "crossval": "segnet.api",
    "doubt": "segnet.api",
    "evaluate": "segnet.api",
    "export": "segnet.api",
    "inspect": "segnet.api",
    "load_checkpoint": "segnet.published.zoo",
    "rank": "segnet.api",
    "train": "segnet.api",
}


def test_the_public_names_are_frozen():
    assert sorted(segnet.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(segnet))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_name_is_the_object_of_its_module(name):
    module = PUBLIC[name]
    expected = getattr(importlib.import_module(module), name) if module else segnet.__version__
    assert getattr(segnet, name) is expected or getattr(segnet, name) == expected


def test_importing_segnet_imports_neither_torch_nor_hydra():
    code = """
import sys, segnet
assert not {"torch", "numpy", "hydra", "omegaconf", "pytorch_lightning"} & set(sys.modules)
segnet.Config
assert "torch" not in sys.modules
segnet.Predictor
assert not {"hydra", "pytorch_lightning"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_star_import_imports_the_public_names():
    names: dict[str, object] = {}
    exec("from segnet import *", names)
    assert set(PUBLIC) <= set(names)


def test_other_names_raise_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Trainer'"):
        segnet.Trainer  # noqa: B018


def test_the_package_is_marked_as_typed():
    assert (Path(segnet.__file__).parent / "py.typed").is_file()


@pytest.mark.slow
def test_a_consumer_sees_real_types(tmp_path):
    program = tmp_path / "consumer.py"
    program.write_text(
        "import segnet\n"
        "run = segnet.train('dataset=shapes', optim__lr=0.1, output_dir='runs/mine')\n"
        "reveal_type(run.checkpoint)\n"
        "reveal_type(segnet.evaluate(checkpoint=run.checkpoint).results.scores.iou)\n"
        "reveal_type(segnet.crossval(folds=2).checkpoints)\n"
        "reveal_type(segnet.compare('a.ckpt', 'b.ckpt').verdict)\n"
        "reveal_type(segnet.doubt(crossval='runs/folds').suspects)\n"
        "reveal_type(segnet.inspect('dataset=shapes').report.errors)\n"
        "reveal_type(segnet.export(run.checkpoint).path)\n"
        "reveal_type(segnet.Predictor(run.checkpoint)('a.png').mask)\n"
        "reveal_type(segnet.Config().seed)\n"
        "reveal_type(segnet.load_checkpoint('a.ckpt')[0].num_classes)\n"
        "reveal_type(segnet.__version__)\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)]
    root = Path(segnet.__file__).parents[1]
    found = subprocess.run([*command, "--config-file", str(root / "pyproject.toml")], capture_output=True, text=True)
    types = [line.split('"')[1] for line in found.stdout.splitlines() if "Revealed type" in line]
    assert found.returncode == 0, found.stdout
    assert not any("Any" in text for text in types if "ndarray" not in text), types
    assert len(types) == 11
