"""The inputs of ../shared/cases: files from public reports that were read wrong once.

One test per case: folder `coco-windows-file-names` belongs to `test_coco_windows_file_names`. A test makes the input,
reads it as the folder's README.md says, and checks what is right there. To add a case, write its test.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segnet.config import DataConfig, InspectConfig
from segnet.data.scan.report import DatasetReport
from segnet.workflows.inspect import inspect

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="../shared/cases is not there")


@pytest.fixture
def make(tmp_path):
    """Function that makes the input of a case in a new folder: make("coco-degenerate-polygons", "two") -> Path."""

    def run(case: str, *variant: str) -> Path:
        root = tmp_path / "-".join([case, *variant])
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        subprocess.run([sys.executable, CASES / case / "make.py", root, *variant], check=True, timeout=120)
        return root

    return run


@pytest.fixture
def inspected(tmp_path):
    """Function that inspects a dataset as `segnet inspect` does: inspected("coco_instances", root, ...) -> Report."""

    def run(name: str, root: Path, splits: tuple[str, ...] = ("train", "val"), **options) -> DatasetReport:
        spec = {"name": name, "root": str(root), **options}
        config = InspectConfig(dataset=spec, splits=list(splits), num_images=0, data=DataConfig(crop_size=[32, 32]))
        return inspect(config, tmp_path / "inspection")

    return run


# One test per case, in the order of the folders.


def test_every_case_has_a_test():
    """Lists the cases without a test. Once there are none, this is a plain assertion."""
    tested = set(re.findall(r"^def test_(\w+)\(", Path(__file__).read_text(encoding="utf-8"), re.MULTILINE))
    missing = sorted(folder.name for folder in CASES.iterdir() if folder.is_dir())
    missing = [name for name in missing if name.replace("-", "_") not in tested]
    if missing:
        pytest.xfail(f"cases without a test: {', '.join(missing)}")
