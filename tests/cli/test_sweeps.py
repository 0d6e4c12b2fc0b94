"""Sweeps: all jobs are checked before the first one starts."""

import pytest

from segnet.cli.composition import run
from segnet.cli.sweeps import jobs_of
from segnet.config import Config
from segnet.errors import ConfigError


def test_jobs_are_all_combinations():
    jobs = list(jobs_of(["optim.lr=0.1,0.2", "seed=range(1,3)", "++trainer.max_steps=2"], True, "train"))
    assert jobs == [
        [lr, seed, "++trainer.max_steps=2"] for lr in ("optim.lr=0.1", "optim.lr=0.2") for seed in ("seed=1", "seed=2")
    ]


def test_a_glob_is_every_choice_that_matches():
    assert list(jobs_of(["loss=glob(ce_*)"], True, "train")) == [["loss=ce_dice"], ["loss=ce_lovasz"], ["loss=ce_rmi"]]


def test_several_values_need_a_sweep():
    with pytest.raises(ConfigError, match="--multirun tries each value"):
        list(jobs_of(["optim.lr=0.1,0.2"], False, "train"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("optim.lr=0.1,0.2,-1", r"^optim\.lr=-1\.0 must be 0 or more$"),
        ("optim.lr=0.1,0.2,fast", r"^optim\.lr: Value 'fast'"),
        ("optim.schedule=poly,cosin", r"^optim\.schedule=cosin is unknown\. Did you mean 'cosine'\?"),
        ("loss=ohem,dise", r"^loss=dise is unknown\. Did you mean 'dice'\?"),
        ("trainer.devices=1,2", "would run the whole sweep again"),
        ("trainer.precision=32,foo", r"^trainer\.precision=foo is not available"),
        ("loss=glob(dise*)", r"^loss=glob\(dise\*\): no choice matches\. Choose from: bce_dice"),
        ("optim.lr=interval(0,1)", r"^optim\.lr=interval\(0,1\): list the values, as in optim\.lr=0\.1,0\.2$"),
    ],
)
def test_a_wrong_value_of_a_later_job_is_refused_before_the_first_one(argument, message, tmp_path):
    calls = []
    arguments = ["--multirun", "dataset=shapes", argument, f"hydra.sweep.dir={tmp_path / 'sweep'}"]
    with pytest.raises(ConfigError, match=message) as caught:
        run("train", Config, lambda *call: calls.append(call), arguments)
    assert not calls
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
