"""The rule of DESIGN.md: a package imports packages on lower floors only, and no import cycle exists."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "segnet"
FLOORS = [
    "errors config option_values trainer_arguments times verb_config choices components classes class_sets extras",
    "system",
    "images models losses weights",
    "data exporters published",
    "inference hub",
    "training prediction serving",
    "workflows",
    "cli",
    "api __main__",
]
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages.split()}
SURFACE = PACKAGE / "__init__.py"  # lazy: imports nothing before the first use
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if path != SURFACE
}


def package_of(module: str) -> str:
    """The package of a module; the root files of floor 0 count as one package."""
    package = module.split(".")[0]
    return "root" if FLOOR_OF[package] == 0 else package


@cache
def imported(path: Path) -> frozenset[str]:
    """The full names of all modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                names.add(full if full.removeprefix("segnet.") in MODULES else str(node.module))
    return frozenset(names)


def imported_modules(module: str) -> set[str]:
    """The modules of segnet that a module of segnet imports, without the prefix."""
    return {name.removeprefix("segnet.") for name in imported(MODULES[module]) if name.startswith("segnet.")}


@pytest.mark.parametrize("module", MODULES)
def test_packages_import_lower_floors_only(module):
    floor = FLOOR_OF[module.split(".")[0]]
    for other in imported_modules(module):
        lower = FLOOR_OF[other.split(".")[0]] < floor
        assert lower or package_of(other) == package_of(module), f"segnet.{module} imports segnet.{other}"


def test_no_import_cycle():
    finished, path = set(), []

    def visit(module):
        assert module not in path, f"cycle: {' -> '.join([*path[path.index(module) :], module])}"
        if module in finished:
            return
        path.append(module)
        for other in sorted(imported_modules(module)):
            visit(other)
        finished.add(path.pop())

    for module in MODULES:
        visit(module)


def test_hydra_is_imported_in_cli_only():
    for module, path in MODULES.items():
        if module.split(".")[0] != "cli":
            assert not {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}, module


@pytest.mark.parametrize("start", ["inference.predictor", "cli.predict", "cli.serve"])
def test_prediction_imports_neither_hydra_nor_lightning(start):
    reached, waiting = {start}, [start]
    while waiting:
        new = imported_modules(waiting.pop()) - reached
        reached |= new
        waiting += new
    assert "models.segmentation_model" in reached
    libraries = {name.split(".")[0] for module in reached for name in imported(MODULES[module])}
    assert not libraries & {"hydra", "omegaconf", "pytorch_lightning", "albumentations"}


def test_models_and_data_do_not_import_each_other():
    for module in MODULES:
        others = {other.split(".")[0] for other in imported_modules(module)}
        if module.split(".")[0] == "data":
            assert "models" not in others
        if module.split(".")[0] == "models":
            assert not others & {"data", "images"}


def test_design_has_the_same_floors():
    table = (ROOT / "DESIGN.md").read_text(encoding="utf-8").split("## Floors")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert {int(floor): set(packages.replace("`", "").split()) for floor, packages in rows} == {
        floor: set(packages.split()) for floor, packages in enumerate(FLOORS)
    }
