"""Values of options that are refused before anything starts."""

import subprocess
import sys

import pytest

from segnet.choices import AUGMENT_PRESETS, CLASS_WEIGHT_RULES, NAMES_OF_OPTIONS, RANK_METHODS
from segnet.cli.composition import composed
from segnet.config import Config, DataConfig, OptimConfig
from segnet.data.augment.presets import PRESETS
from segnet.data.cache.decoded import CACHE_KINDS
from segnet.errors import ConfigError
from segnet.losses.class_weight import RULES
from segnet.models.norms import NORMS
from segnet.option_values import calibration_kind, check_values
from segnet.training.callbacks.nonfinite import NON_FINITE_ACTIONS
from segnet.training.consistency import TEACHERS
from segnet.training.loggers import LOGGERS
from segnet.training.optim import OPTIMIZERS, SCHEDULES
from segnet.training.specs import TABLES
from segnet.verb_config import (
    BenchmarkConfig,
    CompareConfig,
    CrossvalConfig,
    EvaluateConfig,
    InspectConfig,
    RankConfig,
)

PAIR = r"must be \[height, width\]"
SEED = "must be between 0 and 4294967295"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("seed=-1", f"^seed=-1 {SEED}$"),
        ("seed=99999999999", f"^seed=99999999999 {SEED}$"),
        ("dataset.seed=-1", f"^dataset.seed=-1 {SEED}$"),
        ("data.crop_size=[1,2,3]", rf"^data\.crop_size=\[1, 2, 3\] {PAIR}"),
        ("data.crop_size=[64]", rf"^data\.crop_size=\[64\] {PAIR}"),
        ("data.crop_size=[]", rf"^data\.crop_size=\[\] {PAIR}"),
        ("data.crop_size=-5", rf"^data\.crop_size=\[-5, -5\] {PAIR}, each 1 or more"),
        ("dataset.size=[64]", rf"^dataset\.size=\[64\] {PAIR}"),
        ("data.scale_range=[1]", r"must be \[smallest, largest\]"),
        ("optim.betas=[0.9,0.9,0.9]", "must be two numbers"),
        ("trainer.max_steps=0", r"^trainer\.max_steps=0 must be a whole number, 1 or more$"),
        ("trainer.max_epochs=1.5", r"^trainer\.max_epochs=1\.5 must be a whole number, 1 or more$"),
        ("trainer.max_epochs=-1", "would never end"),
        ("data.num_workers=-1", r"^data\.num_workers=-1 must be 0 or more$"),
        ("data.flip=2", "must be a probability between 0 and 1"),
        ("optim.lr=-1", r"^optim\.lr=-1\.0 must be 0 or more$"),
        ("optim.lr=nan", "must be 0 or more"),
        ("output_stride=7", "^output_stride=7 is unknown: choose from 8, 16, 32$"),
        ("precision=foo", "^precision=foo is unknown"),
        ("budget=0", "at least 20s"),
        ("budget=abc", "is not a time"),
        ("budget=60", "^budget=60 has no unit: write 60s or 60min$"),
        ("optim.schedule=pol", r"^optim\.schedule=pol is unknown\. Did you mean 'poly'\? Choose from: cosine, poly\.$"),
        ("optim.name=sdg", r"^optim\.name=sdg is unknown\. Did you mean 'sgd'\?"),
        ("loss.name=dise", r"^loss\.name=dise is unknown\. Did you mean 'dice'\?"),
        ("loss.terms.dise.weight=1", r"^loss\.terms\.dise is unknown\. Did you mean 'dice'\?"),
        ("loss.class_weight=aut", r"^loss\.class_weight=aut is unknown: .* Did you mean 'auto'\?"),
        ("backbone.name=resnt", r"^backbone\.name=resnt is unknown\. Did you mean 'resnet'\?"),
        ("norm.name=bach", r"^norm\.name=bach is unknown\. Did you mean 'batch'\?"),
        ("non_finite=skp", r"^non_finite=skp is unknown\. Did you mean 'skip'\?"),
        ("consistency.teacher=emma", r"^consistency\.teacher=emma is unknown\. Did you mean 'ema'\?"),
        ("data.cache=ram", r"^data\.cache=ram is unknown\. Choose from: disk, memory\.$"),
        ("data.augment=stret", r"^data\.augment=stret is unknown\. Did you mean 'street'\?"),
        ("calibrate=vector", "^calibrate=vector must be global, class or null$"),
        (
            "trainer.max_stepss=2",
            r"^trainer\.max_stepss is not an option of segnet's Trainer\. Did you mean 'max_steps'",
        ),
        ("validation.window=0", r"^validation\.window=0 must be 1 or more pixels"),
    ],
)
def test_a_value_out_of_its_range_is_refused_by_the_command_line(argument, message):
    with pytest.raises(ConfigError, match=message):
        composed("train", Config, ["dataset=shapes", argument])


@pytest.mark.parametrize(
    "config",
    [
        Config(seed=-1),
        CrossvalConfig(seed=-1),
        CompareConfig(seed=-1),
        InspectConfig(seed=-1),
        RankConfig(seed=-1),
        RankConfig(batch_size=0),
        BenchmarkConfig(image_size=[512]),
        BenchmarkConfig(batch_size=0),
        Config(trainer={"max_steps": -1}),
        RankConfig(method="entropie"),
        BenchmarkConfig(optim=OptimConfig(schedule="pol")),
        CompareConfig(trainer={"acelerator": "cpu"}),
        CrossvalConfig(loss={"name": "sum", "terms": {"dise": {}}}),
        EvaluateConfig(calibrate="vector"),
    ],
)
def test_a_value_out_of_its_range_is_refused_in_every_verb(config):
    with pytest.raises(ConfigError, match=r"must be|would never end|is unknown|is not an option"):
        check_values(config)


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(seed=2**32 - 1, mean=[0.5], budget="30s", trainer={"max_epochs": -1}),
        Config(trainer={"max_epochs": -1, "max_steps": 5}),
        Config(trainer={"max_epochs": 5, "max_steps": -1}),
        Config(data=DataConfig(augment="mine.yaml")),
        EvaluateConfig(trainer={"max_epochs": 6, "accelerator": "cpu"}),
    ],
)
def test_valid_values_pass(config):
    check_values(config)


def test_names_are_those_of_the_tables_that_build():
    tables = {
        **{f"{kind}.name": table for kind, table in TABLES.items()},
        "norm.name": NORMS,
        "logger.name": LOGGERS,
        "optim.name": OPTIMIZERS,
        "optim.schedule": SCHEDULES,
        "non_finite": NON_FINITE_ACTIONS,
        "consistency.teacher": TEACHERS,
        "data.cache": CACHE_KINDS,
        "method": RANK_METHODS,
    }
    assert {option: set(names) for option, names in NAMES_OF_OPTIONS.items()} == {
        option: set(table) for option, table in tables.items()
    }
    assert set(AUGMENT_PRESETS) == set(PRESETS)
    assert set(CLASS_WEIGHT_RULES) == set(RULES)


def test_checks_load_no_torch():
    command = "import sys, segnet.option_values; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "kind"), [(None, None), ("False", None), ("True", "global"), ("global", "global"), ("class", "class")]
)
def test_kinds_of_temperatures(value, kind):
    assert calibration_kind(value) == kind


def test_an_unknown_kind_is_refused():
    with pytest.raises(ConfigError, match="calibrate=vector must be global, class or null"):
        calibration_kind("vector")
