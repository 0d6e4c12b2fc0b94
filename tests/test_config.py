"""One set of defaults: Python, the command line and the help agree on every field."""

import ast
import dataclasses
import re
from pathlib import Path

import pytest

from segnet import config as configuration
from segnet import verb_config
from segnet.choices import RUNTIMES
from segnet.cli.composition import composed
from segnet.cli.help import SCHEMAS, default_of, field_docs
from segnet.config import OUTPUT_STRIDES, PRECISIONS, Config
from segnet.data.augment.presets import PRESETS
from segnet.data.cache.decoded import CACHE_KINDS
from segnet.data.datasets.pairing import SPLITS
from segnet.inference.runtimes.pytorch import TORCH_DTYPES
from segnet.models.backbones.resnet import STAGES
from segnet.models.decoders import DECODERS
from segnet.models.norms import NORMS
from segnet.trainer_arguments import LIGHTNING_PRECISIONS
from segnet.training.callbacks.nonfinite import NON_FINITE_ACTIONS
from segnet.training.loggers import LOGGERS
from segnet.training.optim import OPTIMIZERS, SCHEDULES
from segnet.training.plan import PLANNED, value_of

PACKAGE = Path(configuration.__file__).parent
OPTIONS = {**vars(configuration), **vars(verb_config)}
SECTIONS = [value for value in OPTIONS.values() if dataclasses.is_dataclass(value)]
OWN = {"name": "folder", "root": "mydata", "class_names": ["road", "tree"]}
CHECKPOINT = {"checkpoint": "best.ckpt"}
REQUIRED = {"evaluate": CHECKPOINT, "average": CHECKPOINT, "rank": CHECKPOINT, "shard": {"output": "shards"}}
ALLOWED_VALUES = {
    "Config.output_stride": OUTPUT_STRIDES,
    "Config.precision": PRECISIONS,
    "Config.norm": NORMS,
    "Config.decoder": DECODERS,
    "Config.logger": LOGGERS,
    "Config.non_finite": NON_FINITE_ACTIONS,
    "OptimConfig.name": OPTIMIZERS,
    "OptimConfig.schedule": SCHEDULES,
    "DataConfig.cache": CACHE_KINDS,
    "DataConfig.augment": PRESETS,
    "EvaluateConfig.split": SPLITS,
    "AverageConfig.split": SPLITS,
    "ShardConfig.splits": SPLITS,
    "InspectConfig.splits": SPLITS,
    "BenchmarkConfig.output_stride": OUTPUT_STRIDES,
    "BenchmarkConfig.precision": PRECISIONS,
    "BenchmarkConfig.norm": NORMS,
    "BenchmarkConfig.decoder": DECODERS,
    "BenchmarkConfig.runtime": RUNTIMES,
}


@pytest.mark.parametrize("verb", SCHEMAS)
def test_command_line_and_python_have_the_same_defaults(verb):
    schema = SCHEMAS[verb]
    values = dict(REQUIRED.get(verb, {}))
    arguments = [f"{key}={value}" for key, value in values.items()]
    if verb != "benchmark":
        values["dataset"] = OWN
        arguments += ["dataset=folder", "dataset.root=mydata", "dataset.class_names=[road,tree]"]
    from_command_line, from_python = composed(verb, schema, arguments), schema(**values)
    for option in dataclasses.fields(schema):
        assert getattr(from_command_line, option.name) == getattr(from_python, option.name), option.name


def test_shapes_has_its_own_defaults():
    toy, own = composed("train", Config, []), Config()
    assert (toy.trainer["max_epochs"], toy.data.crop_size, toy.optim.lr) == (6, [64, 64], 0.05)
    assert not {"max_epochs", "max_steps"} & own.trainer.keys()
    assert {value_of(own, option) for option in PLANNED} == {None}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_field_has_a_one_line_description(section):
    for option in dataclasses.fields(section):
        if dataclasses.is_dataclass(option.type):
            assert option.type.__doc__
            continue
        text = field_docs(section)[option.name]
        assert text.endswith("."), option.name
        assert len(text) <= 120, option.name


@pytest.mark.parametrize("option", ALLOWED_VALUES)
def test_descriptions_list_all_allowed_values(option):
    section, name = option.split(".")
    words = re.findall(r"\w+", field_docs(OPTIONS[section])[name])
    assert {str(value) for value in ALLOWED_VALUES[option]} <= set(words)


def test_strides_and_precisions_match_the_code():
    assert tuple(STAGES) == OUTPUT_STRIDES
    assert tuple(TORCH_DTYPES) == tuple(LIGHTNING_PRECISIONS) == PRECISIONS


def test_every_field_is_used():
    read = set()
    for path in PACKAGE.rglob("*.py"):
        if path not in (Path(configuration.__file__), Path(verb_config.__file__)):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                    read.add(node.attr)
    for section in SECTIONS:
        for option in dataclasses.fields(section):
            assert option.name in read, f"{section.__name__}.{option.name}"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_defaults_are_yaml_builtins(section):
    def check(value):
        if isinstance(value, dict | list):
            for item in [*value.values(), *value] if isinstance(value, dict) else value:
                check(item)
        elif not dataclasses.is_dataclass(value):
            assert type(value) in (str, int, float, bool, type(None))

    for option in dataclasses.fields(section):
        check(default_of(option))
