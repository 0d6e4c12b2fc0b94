"""No two modules of segnet define different things under one top-level name, public or private."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "segnet"
# Names that Python or an interface of segnet requires in several modules.
ALLOWED = {
    "__all__": "the public names of a package",
    "__version__": "the version of the package",
    "__getattr__": "lazy imports of a package",
    "T": "a type variable, which names no thing",
    "log": "the logger of a module, named after it",
    "build_parser": "the parser of a verb, which the docs read",
    **dict.fromkeys(
        ["train", "crossval", "evaluate", "average", "doubt", "inspect", "export", "rank"],
        "a public function, and the workflow that it runs",
    ),
    "load_checkpoint": "the public function takes names of published models too",
    "main": "the entry point of a verb: segnet.cli imports the verb's module and calls it",
}


def defined(statements: list[ast.stmt]) -> Iterator[str]:
    """Names defined by top-level statements of a module, also inside `if` and `try`; imports are ignored."""
    for node in statements:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
        for inner in ("body", "orelse", "finalbody"):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from defined(getattr(node, inner, []))
        for handler in getattr(node, "handlers", []):
            yield from defined(handler.body)


def homes(package: Path) -> dict[str, set[str]]:
    """Top-level name -> modules that define it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # `fcntl = None` after a failed import is not a second definition.
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        for name in set(defined(tree.body)) - imported:
            found[name].add(str(path.relative_to(package)))
    return found


def test_each_name_is_defined_in_one_module():
    shared = {name: modules for name, modules in homes(PACKAGE).items() if len(modules) > 1 and name not in ALLOWED}
    assert not shared, "rename by meaning, or merge twins: " + "; ".join(
        f"{name} ({', '.join(sorted(modules))})" for name, modules in sorted(shared.items())
    )


def test_every_exception_is_needed():
    assert set(ALLOWED) <= set(homes(PACKAGE))


def test_all_kinds_of_definitions_are_found(tmp_path):
    (tmp_path / "a.py").write_text(
        "import os\nA = B = 1\nC, (D, *E) = 1, (2, 3)\nF: int = 2\ndef g():\n    x = 1\nclass H:\n    y = 2\n"
        "try:\n    import z\nexcept ImportError:\n    z = None\nif A:\n    K = 1\nelse:\n    L = 2\n"
    )
    assert set(homes(tmp_path)) == set("ABCDEFgHKL")
