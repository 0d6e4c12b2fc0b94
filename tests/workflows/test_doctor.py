"""`segnet doctor` names each problem of an installation, and the command that fixes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from segnet.workflows.doctor import OK, PROBLEM, diagnose

ROOT = Path(__file__).resolve().parents[2]


def install(folder, name, version, code=None):
    """Create an installed distribution as pip does, with a package of the given code."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if code is not None:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(code)


def doctor(folder, *arguments):
    """Run `segnet doctor` with the folder's packages first; return the exit code and the lines."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "segnet", "doctor", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not done.stderr
    return done.returncode, done.stdout.splitlines()


def test_this_installation_has_no_problems():
    checks = list(diagnose())
    assert not [check for check in checks if check.state == PROBLEM]
    names = {check.name for check in checks}
    assert {"Python", "segnet", "torch", "GPU", "CPU", "albumentations", "cache folder", "extra onnx"} <= names


def test_clashing_packages_are_problems_with_a_remedy(tmp_path):
    install(tmp_path, "torchvision", "0.1", 'raise RuntimeError("operator torchvision::nms does not exist")')
    install(tmp_path, "opencv-python", "4.12.0")
    install(tmp_path, "albumentations", "2.0.9")
    code, lines = doctor(tmp_path, "--quiet")
    assert code == 5
    problems = [line for line in lines if line.startswith(PROBLEM)]
    [torchvision] = [line for line in problems if " torchvision " in line]
    assert "nms does not exist" in torchvision
    assert "pip uninstall torchvision" in torchvision
    assert any("opencv-python " in line and "pip uninstall opencv-python" in line for line in problems)
    assert any('pip install "albumentations==2.0.8"' in line for line in problems)
    assert lines[-1] == "3 problems found"
    assert not any(line.startswith(OK) for line in lines)


def test_a_torch_that_cannot_be_imported_is_named(tmp_path):
    install(tmp_path, "torch", "2.13.0", 'raise ImportError("libcudart.so.13: cannot open shared object file")')
    code, lines = doctor(tmp_path)
    assert code == 5
    assert any("torch" in line and "libcudart.so.13" in line and line.startswith(PROBLEM) for line in lines)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "cache").mkdir(mode=0o500)
    code, lines = doctor(tmp_path, "--quiet")
    assert code == 5
    assert any("XDG_CACHE_HOME" in line for line in lines)
