"""DESIGN.md's floors: imports point down, siblings on a floor do not see each other, Hydra lives in the cli only."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "segnet"
FLOORS = {
    floor: names.split()
    for floor, names in {
        0: """errors components classes class_sets config norms layers depthwise images bands scenes pdparams schemes
            naming download signals machine position charts storage windows web inputs polygons video overlap records
            extras""",
        1: """backbones decoders auxiliary losses batches nonfinite unlabelled metrics optim weightfiles visualization
            metadata data.dataset data.transforms data.labels data.pairing data.splits data.annotations
            data.report data.shards data.crops data.mixing data.sampler data.stamps data.packing data.cache_folders
            segmentation inference imagelike outputs""",
        2: "model classifier data data.survey data.cache",
        3: """task checkpoint trainer recipe weights data.datamodule resume runs finetuning loggers progress runtimes
            processes profiling exporters pretrained costs""",
        4: """training evaluation inspection predictor conversion report sharding prediction serving
            exporting quantisation hub benchmarking""",
        5: "cli",
        6: "__main__",
    }.items()
}
GLANCES = {  # within a floor, as DESIGN.md says beside it
    ("norms", "components"),
    ("layers", "norms"),
    ("class_sets", "classes"),
    ("naming", "schemes"),
    ("download", "images"),
    ("download", "web"),
    ("inputs", "images"),
    ("polygons", "classes"),
    ("records", "images"),
    ("bands", "images"),
    ("scenes", "bands"),
    ("scenes", "classes"),
    ("scenes", "images"),
    ("scenes", "windows"),
    ("data.dataset", "data.labels"),
    ("data.packing", "data.dataset"),
    ("data.transforms", "data.crops"),
    ("data.mixing", "data.dataset"),
    ("data.annotations", "data.labels"),
    ("data.dataset", "data.report"),
    ("data.shards", "data.dataset"),
    ("data.shards", "data.labels"),
    ("segmentation", "visualization"),
    ("outputs", "segmentation"),
    ("prediction", "predictor"),
    ("runtimes.pytorch", "checkpoint"),
    ("runtimes.pytorch", "pretrained"),
    ("runtimes.cache", "checkpoint"),
    ("runtimes.cache", "exporters"),
    ("exporting", "quantisation"),
    ("trainer", "checkpoint"),
    ("trainer", "profiling"),
    ("costs", "progress"),
    ("trainer", "progress"),
    ("trainer", "resume"),
    ("resume", "processes"),
    ("runs", "checkpoint"),
    ("training", "evaluation"),
    ("training", "predictor"),
    ("training", "report"),
    ("report", "evaluation"),
    ("report", "predictor"),
    ("serving.app", "predictor"),
}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_of(path: Path) -> str:
    """segnet/data/shapes.py -> "data.shapes"."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def place_of(module: str) -> tuple[int, str]:
    """Floor and entry of a module: the longest entry that it is or lies under."""
    entries = [(floor, entry) for floor, names in FLOORS.items() for entry in names]
    fitting = [(floor, entry) for floor, entry in entries if module == entry or module.startswith(f"{entry}.")]
    assert fitting, f"segnet.{module} is on no floor: give it one here and in DESIGN.md"
    return max(fitting, key=lambda place: len(place[1]))


def imported(path: Path) -> set[str]:
    """All modules that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            for alias in node.names:
                inner = PACKAGE.parent.joinpath(*node.module.split("."), alias.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                names.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    module = name_of(path)
    floor, entry = place_of(module)
    for name in imported(path):
        if not name.startswith("segnet."):
            continue
        other = name.removeprefix("segnet.")
        other_floor, other_entry = place_of(other)
        allowed = (
            other_floor < floor
            or other_entry == entry
            or (floor == 0 and other == "errors")
            or (module, other) in GLANCES
        )
        assert allowed, f"segnet.{module} (floor {floor}) imports segnet.{other} (floor {other_floor})"


def test_the_glances_within_a_floor_are_still_taken():
    paths = {name_of(path): path for path in MODULES}
    for module, other in GLANCES:
        assert f"segnet.{other}" in imported(paths[module])


@pytest.mark.parametrize("path", [path for path in MODULES if "cli" not in path.parts], ids=name_of)
def test_hydra_lives_only_in_the_cli(path):
    assert not {name.split(".")[0] for name in imported(path)} & {"hydra", "omegaconf"}


@pytest.mark.parametrize("start", ["predictor", "cli.predict", "cli.serve"])
def test_whoever_predicts_imports_neither_hydra_nor_lightning(start):
    reached, waiting = set(), [start]
    while waiting:
        module = waiting.pop()
        path = PACKAGE.joinpath(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for name in imported(path):
            if name.startswith("segnet.") and name not in reached:
                waiting.append(name.removeprefix("segnet."))
            reached.add(name)
    assert "segnet.model" in reached
    assert not {name.split(".")[0] for name in reached} & {"hydra", "omegaconf", "pytorch_lightning", "albumentations"}


def test_model_and_data_meet_only_in_the_wiring():
    for path in MODULES:
        module = name_of(path)
        if module.startswith("data"):
            assert "segnet.model" not in imported(path)
        if module == "model":
            assert not any(name.startswith("segnet.data") for name in imported(path))


def test_design_names_the_same_floors():
    text = (ROOT / "DESIGN.md").read_text(encoding="utf-8")
    block = text.split("## Floors")[1].split("```")[1]
    floors = block.strip().replace("\n   ", "  ").splitlines()  # what is indented goes on with the line above it
    for line in floors:
        number, names = line.split(maxsplit=1)
        told = {name.removesuffix(".<dataset>") for name in names.split("   ")[0].split()}
        assert told == set(FLOORS[int(number)])
