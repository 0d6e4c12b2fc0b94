"""Missing and broken packages are reported in one line; prediction does not import packages it does not need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from exports import write_checkpoint
from PIL import Image

from segnet.errors import MachineError
from segnet.extras import broken_package, import_extra, installed_version, matching_torchvision

ROOT = Path(__file__).resolve().parents[1]
NMS = "operator torchvision::nms does not exist"


@pytest.fixture
def foreign_torchvision(tmp_path):
    """Environment of a process with a torchvision for another torch."""
    folder = tmp_path / "site"
    for name, file, text in (
        ("torchvision", "__init__.py", f"raise RuntimeError({NMS!r})"),
        ("torchvision-0.28.0.dist-info", "METADATA", "Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n"),
    ):
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_text(text, encoding="utf-8")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "OMP_NUM_THREADS": "1"}


def run(environment, cwd, *arguments):
    command = [sys.executable, "-m", "segnet", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", ["train dataset=shapes", "export model.ckpt"])
def test_an_incompatible_torchvision_is_reported_with_advice(foreign_torchvision, tmp_path, verb):
    write_checkpoint(tmp_path / "model.ckpt")
    ended = run(foreign_torchvision, tmp_path, *verb.split())
    assert ended.returncode == 5
    assert ended.stderr.count("\n") == 1
    assert f"torchvision 0.28.0 does not fit torch {torch.__version__} ({NMS}): pip uninstall" in ended.stderr


def test_prediction_works_without_torchvision(foreign_torchvision, tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    write_checkpoint(tmp_path / "model.ckpt")
    ended = run(foreign_torchvision, tmp_path, "predict", "a.png", "--checkpoint", "model.ckpt", "--output", "out")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("2.13.0+cpu", "torchvision==0.28.0+cpu, from where torch 2.13.0+cpu came"),
        ("2.12.1", "torchvision==0.27.1"),
        ("2.14.0+cu130", "torchvision==0.29.0+cu130, from where torch 2.14.0+cu130 came"),
        ("2.15.0.dev20261129", "the release and build that belong to this torch"),
        ("", "the release and build that belong to this torch"),
    ],
)
def test_the_torchvision_that_fits_is_named(version, words):
    assert matching_torchvision(version) == words


def test_the_installed_torchvision_is_the_one_that_fits():
    version = installed_version("torchvision")
    if version is None:
        pytest.skip("torchvision is not installed")
    assert version.partition("+")[0] in matching_torchvision(torch.__version__)


def test_a_missing_package_is_named():
    error = broken_package(ModuleNotFoundError("No module named 'torchmetrics'", name="torchmetrics"))
    assert str(error).startswith("torchmetrics is not installed: pip install torchmetrics")
    assert broken_package(ModuleNotFoundError("No module named 'segnet.x'", name="segnet.x")) is None


def test_internal_errors_are_not_reported_as_broken_packages():
    with pytest.raises(IndexError) as caught:
        [].pop()
    assert broken_package(caught.value) is None


def test_an_extra_that_fails_on_import_is_reported(tmp_path, monkeypatch):
    (tmp_path / "brokenextra.py").write_text("raise AttributeError('no such symbol')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MachineError, match=r"brokenextra +cannot be imported \(no such symbol\)"):
        import_extra("brokenextra", "x")
