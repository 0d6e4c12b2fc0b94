"""conf/: every choice composes and builds, and choices match the tables in the code."""

import inspect
import itertools
import json
from dataclasses import asdict
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
import yaml

from segnet.classes import Classes
from segnet.cli.composition import composed as compose_verb
from segnet.components import check_options
from segnet.config import Config
from segnet.data import DATASETS
from segnet.losses import LOSSES
from segnet.losses.distillation import DISTILLATIONS
from segnet.models.auxiliary import AUXILIARY_HEADS
from segnet.models.backbones import BACKBONES
from segnet.models.decoders import DECODERS
from segnet.models.segmentation_model import SegmentationModel
from segnet.training.loggers import LOGGERS
from segnet.training.optim import check_optim
from segnet.training.run_config import flat_options
from segnet.training.specs import complete_specs
from segnet.training.task import SegmentationTask
from segnet.training.trainer_options import resolve_trainer_options
from segnet.verb_config import InspectConfig

ROOT = Path(__file__).resolve().parents[1]
CONF = ROOT / "conf"
TABLES = {
    "backbone": BACKBONES,
    "decoder": DECODERS,
    "loss": LOSSES,
    "auxiliary_head": AUXILIARY_HEADS,
    "distillation": DISTILLATIONS,
    "dataset": DATASETS,
    "logger": LOGGERS,
}
SHARED_BY_READERS = """annotations brush_runs by_name clipping coco_annotations coco_masks cvat_images
cvat_subsets file_names fronts json_records label_advice label_studio_regions label_studio_tasks labels layouts
lists notes outlines pairing plane_files planes polygon_fill run_lengths splits text_files xml_records yaml_records
yolo_files"""


def menu(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> Config:
    return compose_verb("train", Config, overrides)


@pytest.mark.parametrize(
    ("backbone", "decoder", "output_stride"), list(itertools.product(menu("backbone"), menu("decoder"), (8, 16, 32)))
)
def test_every_backbone_decoder_and_stride_composes_and_builds(backbone, decoder, output_stride):
    options = [f"backbone={backbone}", f"decoder={decoder}", f"output_stride={output_stride}"]
    if backbone == "timm":
        pytest.importorskip("timm", reason="timm is an optional package, and not installed")
        options.append("backbone.model=resnet18")
    config = complete_specs(composed(*options))
    with torch.device("meta"):
        model = SegmentationModel(
            backbone=config.backbone, decoder=config.decoder, num_classes=5, mean=[0.5] * 3, std=[0.5] * 3
        ).eval()
        logits = model(torch.zeros(1, 3, 65, 47))
    assert logits.shape == (1, 5, 65, 47)
    assert model.output_stride == output_stride


@pytest.mark.parametrize("group", TABLES)
def test_choices_in_conf_match_the_tables_in_the_code(group):
    names = {yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())[group]["name"] for choice in menu(group)}
    assert names == set(TABLES[group])


@pytest.mark.parametrize(
    ("folder", "table"),
    [("models/backbones", BACKBONES), ("models/decoders", DECODERS), ("data/datasets", DATASETS)],
    ids=["backbones", "decoders", "datasets"],
)
def test_every_module_of_a_family_folder_is_in_its_table(folder, table):
    paths = (ROOT / "segnet" / folder).iterdir()
    modules = {path.stem for path in paths if path.suffix == ".py" or (path / "__init__.py").exists()}
    modules -= {"__init__"} | set(SHARED_BY_READERS.split() if folder == "data/datasets" else ())
    assert modules == {entry.__module__.rpartition(".")[2] for entry in table.values()}


@pytest.mark.parametrize("group", TABLES)
def test_the_package_directive_is_the_first_line(group):
    for choice in menu(group):
        assert (CONF / group / f"{choice}.yaml").read_text().splitlines()[0] == "# @package _global_", choice


@pytest.mark.parametrize("dataset", menu("dataset"))
def test_every_dataset_accepts_the_options_of_its_yaml(dataset):
    spec = dict(composed(f"dataset={dataset}", *needed(dataset)).dataset)
    name = spec.pop("name")
    check_options("dataset", f"dataset '{name}'", DATASETS[name], spec, exclude=["split"])


def needed(dataset: str) -> list[str]:
    """Overrides for required options of a yaml."""
    spec = yaml.safe_load((CONF / "dataset" / f"{dataset}.yaml").read_text())["dataset"]
    values = {"root": "x", "class_names": "[a,b]"}
    return [f"dataset.{key}={values[key]}" for key, value in spec.items() if value == "???"]


@pytest.mark.parametrize("experiment", menu("experiment"))
def test_every_experiment_composes_builds_and_opens_with_its_command(experiment):
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    header = [line for line in lines[1:] if line.startswith("#")]
    assert any(f"python train.py experiment={experiment}" in line for line in header)
    config = complete_specs(composed(f"experiment={experiment}", "dataset.root=x", "backbone_weights=x"))
    check_optim(config.optim)
    assert config.optim.batch_size == config.data.batch_size  # on one device the learning rate is the recipe's
    check_options("trainer", "Lightning's Trainer", pl.Trainer, config.trainer)
    names = [str(index) for index, _ in enumerate(config.loss.get("class_weight") or "ab")]
    if config.backbone["name"] == "timm":
        pytest.importorskip("timm", reason="timm is an optional package, and not installed")
    with torch.device("meta"):
        SegmentationTask.create(
            model={"backbone": config.backbone, "decoder": config.decoder, "mean": [0.5] * 3, "std": [0.5] * 3},
            classes=Classes.create(names),
            loss=config.loss,
            optim=config.optim,
            auxiliary_head=config.auxiliary_head,
        )


@pytest.mark.parametrize("experiment", menu("experiment"))
def test_recipes_do_not_change_with_the_defaults(experiment):
    """tests/data/recipes.json contains the configuration of each recipe; a change invalidates its header."""
    stored = json.loads((ROOT / "tests" / "data" / "recipes.json").read_text())
    assert stored.keys() == set(menu("experiment"))
    config = asdict(complete_specs(composed(f"experiment={experiment}", "dataset.root=x", "backbone_weights=x")))
    found = flat_options(
        {**config, "trainer": {**resolve_trainer_options(config["trainer"]), "precision": config["precision"]}}
    )
    assert {key: found.get(key) for key in stored[experiment]} == stored[experiment]


@pytest.mark.parametrize("group", ["decoder", "loss", "auxiliary_head", "distillation", "dataset", "logger"])
def test_no_choice_repeats_a_default(group):
    own = asdict(Config())
    for choice in menu(group):
        sections = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())
        spec = sections.pop(group)
        parameters = inspect.signature(TABLES[group][spec["name"]]).parameters
        for key, value in spec.items():
            assert key == "name" or parameters[key].default != value, f"{group}={choice}: {key}"
        for section, options in sections.items():
            if not isinstance(options, dict):
                assert own[section] != options, f"{group}={choice}: {section}"
                continue
            for key, value in options.items():
                assert own[section].get(key) != value, f"{group}={choice}: {section}.{key}"


@pytest.mark.parametrize(
    "verb", ["train", "crossval", "evaluate", "compare", "doubt", "average", "rank", "inspect", "shard", "benchmark"]
)
def test_the_file_of_a_verb_has_no_options(verb):
    assert set(yaml.safe_load((CONF / f"{verb}.yaml").read_text())) == {"defaults", "hydra"}


def test_crossval_has_the_groups_of_train():
    groups = [yaml.safe_load((CONF / f"{verb}.yaml").read_text())["defaults"] for verb in ("train", "crossval")]
    assert groups[0] == groups[1]


def test_command_line_overrides_experiment_overrides_groups():
    assert composed("experiment=camvid_resnet18_vd", "dataset.root=x").data.crop_size == [256, 320]
    assert composed("experiment=camvid_resnet18_vd", "dataset.root=x", "data.batch_size=3").data.batch_size == 3


def test_label_maps_from_error_messages_work_on_the_command_line():
    options = ["dataset=folder", "dataset.root=[first,second]", "dataset.class_names=[road,tree]"]
    maps = ["dataset.id_map={0:0,255:1,other:ignore}", "dataset.color_map=[[128,64,128,road],[0,0,0,ignore]]"]
    dataset = composed(*options, *maps, "dataset.group='^(patient[0-9]+)'").dataset
    assert dataset["root"] == ["first", "second"]
    assert dataset["id_map"] == {0: 0, 255: 1, "other": "ignore"}
    assert dataset["color_map"] == [[128, 64, 128, "road"], [0, 0, 0, "ignore"]]
    assert dataset["group"] == "^(patient[0-9]+)"


def test_a_task_chooses_the_loss_and_the_command_line_overrides_it():
    config = composed("task=multilabel", "dataset=folder", "dataset.root=x", "dataset.class_names=[a,b]")
    assert (config.dataset["task"], config.loss["name"]) == ("multilabel", "bce_dice")
    assert composed("task=multilabel", "loss=ohem").loss["name"] == "ohem"  # refused when the loss is built
    assert composed("task=multiclass").loss == composed().loss
    assert compose_verb("inspect", InspectConfig, ["task=multilabel", "dataset=shapes"]).dataset["task"] == "multilabel"
