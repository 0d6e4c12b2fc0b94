"""Plan of a run: null options follow the data, options set by hand are kept, and a resumed run keeps both."""

import json
from collections import Counter
from dataclasses import asdict, replace

import pytest
import yaml
from resumption import assert_equal
from tiny import CPU, SHAPES, components

from segnet.components import as_options
from segnet.config import Config, DataConfig, EmaConfig, OptimConfig
from segnet.errors import ConfigError
from segnet.models.checkpoint import read_checkpoint
from segnet.training import plan
from segnet.training.plan import PLANNED, Facts, chosen, planned, value_of
from segnet.workflows.train import train

CAMVID = Facts(num_train=367, num_val=101, sizes={(360, 480): 367}, pretrained=False)


def found(config, facts, *options):
    return [value_of(planned(config, facts), option) for option in options]


@pytest.mark.parametrize(
    ("sizes", "device", "crop"),
    [
        ({(96, 128): 240}, "cpu", [96, 128]),
        ({(360, 480): 367}, "cpu", [320, 320]),
        ({(360, 480): 367}, "cuda", [360, 480]),
        ({(1024, 2048): 5}, "cuda", [512, 512]),
        ({(20, 30): 5}, "cpu", [64, 64]),
        ({(100, 100): 9, (3000, 4000): 2}, "cpu", [100, 100]),
        ({}, "cpu", [320, 320]),
    ],
)
def test_the_crop_size_follows_the_median_image_size_and_the_device(sizes, device, crop):
    assert found(Config(), replace(CAMVID, sizes=Counter(sizes), device=device), "data.crop_size") == [crop]


@pytest.mark.parametrize(
    ("num_train", "pretrained", "steps"),
    [(20, False, 4000), (367, False, 4500), (20, True, 2000), (367, True, 2250), (118_000, True, 40_000)],
)
def test_a_run_has_enough_steps_even_for_few_images(num_train, pretrained, steps):
    facts = replace(CAMVID, num_train=num_train, pretrained=pretrained)
    assert found(Config(), facts, "trainer.max_steps", "trainer.max_epochs") == [steps, None]


def test_validations_are_frequent_but_cheap():
    [interval] = found(Config(), CAMVID, "trainer.val_check_interval")
    assert 4500 / interval == 20
    [rare] = found(Config(), replace(CAMVID, num_val=20_000), "trainer.val_check_interval")
    assert 4500 / rare == 5
    [accumulated] = found(Config(), replace(CAMVID, accumulated=4), "trainer.val_check_interval")
    assert accumulated % 4 == 0  # the interval counts batches
    by_hand = Config(trainer={"check_val_every_n_epoch": 3})
    assert found(by_hand, CAMVID, "trainer.val_check_interval") == [None]


def test_random_weights_use_adamw_and_pretrained_weights_sgd():
    names = [f"optim.{name}" for name in ("name", "lr", "weight_decay", "norm_decay", "schedule", "warmup_steps")]
    assert found(Config(), CAMVID, *names, "ema.decay") == ["adamw", 0.001, 0.05, False, "cosine", 450, 0.99778]
    pretrained = replace(CAMVID, pretrained=True)
    assert found(Config(), pretrained, *names, "ema.decay") == ["sgd", 0.01, 1e-4, True, "poly", 225, 0.99556]


def test_the_ema_decay_matches_that_of_the_recipes():
    for steps, decay in ((1080, 0.99), (9000, 0.999), (22_000, 0.9995)):
        assert plan.ema_decay(steps) == pytest.approx(decay, abs=(1 - decay) / 4)
    assert plan.ema_decay(199) == 0


def test_the_learning_rate_follows_the_effective_batch_size():
    names = ["optim.lr", "optim.batch_size"]
    facts = replace(CAMVID, num_processes=2, accumulated=2)
    assert found(Config(), replace(facts, pretrained=True), *names) == [0.04, 32]
    assert found(Config(), facts, *names) == [0.002, 32]
    fewer = replace(CAMVID, num_train=4, pretrained=True)
    assert found(Config(), fewer, *names, "data.batch_size") == [0.005, 4, 4]


def test_a_learning_rate_set_by_hand_uses_plain_sgd():
    names = ["optim.name", "optim.lr", "optim.schedule", "optim.warmup_steps", "optim.batch_size", "ema.decay"]
    assert found(Config(optim=OptimConfig(lr=0.05)), CAMVID, *names) == ["sgd", 0.05, "poly", 0, None, None]
    adamw = Config(optim=OptimConfig(lr=0.002, name="adamw"))
    assert found(adamw, CAMVID, *names) == ["adamw", 0.002, "cosine", 0, None, None]
    assert chosen(adamw, planned(adamw, CAMVID))["optim.weight_decay"] == 0.05


def test_options_set_by_hand_are_kept():
    config = Config(
        data=DataConfig(batch_size=3, crop_size=[40, 50], scale_range=[1, 2], flip=0.1, color_jitter=0.2),
        optim=OptimConfig(
            name="sgd", lr=0.1, batch_size=5, weight_decay=0.0, norm_decay=False, schedule="cosine", warmup_steps=7
        ),
        ema=EmaConfig(decay=0.0),
        trainer={"max_epochs": 2},
    )
    assert planned(config, CAMVID) == config
    assert not chosen(config, config)


def test_planning_replaces_every_null_and_is_idempotent():
    decided = planned(Config(), CAMVID)
    assert {option for option in PLANNED if value_of(decided, option) is None} == {"trainer.max_epochs"}
    assert planned(decided, replace(CAMVID, num_train=99_999, pretrained=True)) == decided
    typed = as_options(chosen(Config(), decided))
    assert "data.crop_size=[320,320]" in typed
    assert "optim.norm_decay=false" in typed


def test_a_preset_of_augmentation_chooses_options_and_the_defaults_are_not_worth_a_word():
    decided = planned(Config(data=DataConfig(augment="document", flip=0.5)), CAMVID)
    options = chosen(Config(data=DataConfig(augment="document", flip=0.5)), decided)
    assert (options["data.scale_range"], options["data.color_jitter"]) == ([0.7, 1.4], 0.3)
    assert decided.data.flip == 0.5
    plain = planned(Config(), CAMVID)
    assert (plain.data.scale_range, plain.data.flip, plain.data.color_jitter) == ([0.5, 2.0], 0.5, 0.4)
    assert not {"data.scale_range", "data.flip", "data.color_jitter"} & chosen(Config(), plain).keys()


def test_an_unknown_optimizer_is_refused_before_planning():
    with pytest.raises(ConfigError, match=r"optim\.name=adam is unknown\. Did you mean 'adamw'"):
        planned(Config(optim=OptimConfig(name="adam")), CAMVID)


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(plan, "LENGTHS", {False: (2, 5, 99), True: (1, 2, 99)})
    monkeypatch.setattr(plan, "VALIDATIONS", (2, 2))


def undecided(**changes):
    parts = {**components(), "dataset": SHAPES, "data": DataConfig(num_workers=0), "trainer": dict(CPU)}
    return Config(**{**parts, "worst_images": 0, **changes})


def test_a_run_stores_the_chosen_options_and_a_resumed_run_keeps_them(tmp_path, short, monkeypatch):
    train(undecided(), tmp_path / "whole")
    stored = yaml.safe_load((tmp_path / "whole" / "chosen.yaml").read_text())
    assert stored["data.crop_size"] == [64, 64]
    assert (stored["trainer.max_steps"], stored["trainer.val_check_interval"]) == (5, 2)
    written = yaml.safe_load((tmp_path / "whole" / "config.yaml").read_text())
    assert written["optim"]["name"] == stored["optim.name"] == "adamw"
    assert json.loads((tmp_path / "whole" / "results.json").read_text())["steps"] == 5

    by_hand = undecided(
        data=DataConfig(batch_size=8, crop_size=[64, 64], num_workers=0),
        optim=OptimConfig(**written["optim"]),
        ema=EmaConfig(**written["ema"]),
        trainer=written["trainer"],
    )
    train(by_hand, tmp_path / "again")
    weights = [read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("whole", "again")]
    assert_equal(*weights)

    monkeypatch.setattr(plan, "LENGTHS", {False: (9, 90, 99), True: (9, 90, 99)})  # defaults of a later version
    results = train(undecided(checkpoint="auto"), tmp_path / "other")
    assert results.checkpoint.parent in (tmp_path / "whole", tmp_path / "again")
    assert not (tmp_path / "other").exists()
    longer = undecided(checkpoint="auto", trainer={**CPU, "max_steps": 6})
    assert train(longer, tmp_path / "longer").checkpoint.parent == tmp_path / "longer"


def test_image_sizes_come_from_a_sample_without_a_scan(tmp_path, short):
    train(undecided(data=DataConfig(num_workers=0, check=False), optim=OptimConfig(lr=0.01)), tmp_path)
    stored = yaml.safe_load((tmp_path / "chosen.yaml").read_text())
    assert stored["data.crop_size"] == [64, 64]
    assert "optim.name" not in stored
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()).keys() == asdict(Config()).keys()
