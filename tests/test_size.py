"""Files and functions stay short; a longer one contains two ideas and should be split."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE, MAX_FUNCTION = 300, 60  # lines
SOURCES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for folder in ("segnet", "benchmarks", "docs", "tests")
    for ending in ("py", "js", "mjs", "css", "html")
    for path in sorted((ROOT / folder).rglob(f"*.{ending}"))
}


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Name and lines of each function and method, without its decorators."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1


def test_files_are_short():
    lines = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert len(lines) > 700
    assert not {name: number for name, number in lines.items() if number > MAX_FILE}, "split these files by idea"


def test_functions_are_short():
    programs = {name: source for name, source in SOURCES.items() if name.endswith(".py")}
    found = [(name, *function) for name, source in programs.items() for function in functions(source)]
    assert not [entry for entry in found if entry[-1] > MAX_FUNCTION], "split these functions by idea"


def test_methods_and_inner_functions_are_measured():
    source = "class A:\n    def b(self):\n        def c():\n            return 1\n        return c\n"
    assert dict(functions(source)) == {"b": 4, "c": 2}
