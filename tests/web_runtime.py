"""onnxruntime-web for tests: the package where it is installed, or a stand-in with the names of its files."""

import json
import os
from pathlib import Path

import pytest

from segnet.exporters.web.runtime import WEB_FILES, WEB_PACKAGE

CHECKOUT = Path(__file__).resolve().parents[1]


def installed():
    """The folder of onnxruntime-web: that of the environment variable ONNXRUNTIME_WEB, or of a node_modules above."""
    named = [Path(os.environ["ONNXRUNTIME_WEB"])] if "ONNXRUNTIME_WEB" in os.environ else []
    above = [folder / "node_modules" / WEB_PACKAGE for folder in (CHECKOUT, *CHECKOUT.parents)]
    for folder in named + above:
        if (folder / "package.json").is_file():
            return folder
    return pytest.skip("needs npm install onnxruntime-web, or its folder in ONNXRUNTIME_WEB")


def stand_in(folder, name=WEB_PACKAGE, version="9.9.9"):
    """Write a package with all files, which do nothing."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    for file in (file for pair in WEB_FILES.values() for file in pair):
        (folder / "dist" / file).write_text(f"// {file}")
    return folder
