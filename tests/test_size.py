"""Files and functions stay short; a longer one contains two ideas and should be split."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE, MAX_FUNCTION, MAX_TEST_FILE = 300, 60, 500  # lines
SOURCES = sorted((ROOT / "segnet").rglob("*.py"))


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function and method, without its decorators."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_of_segnet_and_its_functions_are_short(path):
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= MAX_FILE, f"split {path.relative_to(ROOT)} by idea"
    long = {name: lines for name, lines in functions(source) if lines > MAX_FUNCTION}
    assert not long, f"split these functions of {path.relative_to(ROOT)} by idea: {long}"


def test_test_files_are_short():
    files = sorted((ROOT / "tests").rglob("*.py"))
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert not {path: number for path, number in lines.items() if number > MAX_TEST_FILE}


def test_methods_and_inner_functions_are_measured():
    source = "class A:\n    def b(self):\n        def c():\n            return 1\n        return c\n"
    assert dict(functions(source)) == {"b": 4, "c": 2}
