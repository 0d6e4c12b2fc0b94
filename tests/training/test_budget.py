"""Time budgets: how they are written, and what a plan makes of a measured speed."""

from dataclasses import replace

import pytest
from tiny import configuration

from segnet.config import Config, DataConfig, OptimConfig
from segnet.errors import ConfigError
from segnet.times import as_budget, parse_budget
from segnet.training.budget import Speed, backbone_for, check_budget, plan_within
from segnet.training.plan import PLANNED, Facts, value_of
from segnet.training.run_config import write_config
from segnet.training.trainer_options import check_trainer_options

FACTS = Facts(num_train=367, num_val=101, sizes={(360, 480): 367}, pretrained=False)
SPEED = Speed(pixels_per_second=1e6, largest_batch=16, validation=5.0)


@pytest.mark.parametrize("seconds", [90, 1800, 5400, 3665, 86400])
def test_a_formatted_budget_is_parsed_to_the_same_time(seconds):
    assert parse_budget(as_budget(seconds)) == seconds


@pytest.mark.parametrize("trainer", [{"devices": 2}, {"devices": "auto"}, {"num_nodes": 2}])
def test_a_budget_with_several_processes_is_refused(trainer):
    with pytest.raises(ConfigError, match=r"^budget=2h supports only one process"):
        check_budget(Config(budget="2h", trainer=trainer))


@pytest.mark.parametrize(
    ("value", "budget"), [("00:00:30:00", "30min"), ("01:02:00:00", "26h"), ({"hours": 1}, "2h"), (None, "2h")]
)
def test_lightnings_time_limit_is_refused_with_the_same_budget(value, budget):
    with pytest.raises(ConfigError, match=rf"^trainer\.max_time=.* use budget={budget},"):
        check_trainer_options({"max_time": value})


def test_a_gpu_gets_a_larger_backbone_unless_set_by_hand_or_time_is_short():
    config = Config(budget="30min")
    assert backbone_for(config, "cuda")["depths"] == [3, 4, 6, 3]
    assert backbone_for(config, "cpu") == config.backbone
    assert backbone_for(replace(config, budget="1min"), "cuda") == config.backbone
    chosen = replace(config, backbone=configuration().backbone)
    assert backbone_for(chosen, "cuda") == chosen.backbone


@pytest.mark.parametrize("weights", [{"init_from": "best.ckpt"}, {"backbone_weights": "timm/resnet18d.ra2_in1k"}])
def test_weights_chosen_by_hand_keep_their_backbone(weights):
    config = Config(budget="30min", **weights)
    assert backbone_for(config, "cuda") == config.backbone
    assert backbone_for(replace(config, init_from=None, backbone_weights=None), "cuda") != config.backbone


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("budget", ["1min", "2h"])
def test_a_resumed_run_keeps_its_backbone(tmp_path, device, budget):
    larger = backbone_for(Config(budget="30min"), "cuda")
    for backbone in (Config().backbone, larger):
        write_config(tmp_path, Config(backbone=backbone), Config())
        resumed = Config(budget=budget, checkpoint=str(tmp_path / "last.ckpt"))
        assert backbone_for(resumed, device) == backbone


def plan(seconds, speed=SPEED, config=None, facts=FACTS):
    decided, steps = plan_within(config or Config(budget="1h"), facts, speed, seconds)
    return decided, steps


def test_a_slow_machine_gets_smaller_batches_then_smaller_crops_and_a_fast_one_larger_batches():
    decided, steps = plan(60)
    assert (decided.data.crop_size, decided.data.batch_size) == ([320, 320], 8)
    assert steps >= 50
    decided, steps = plan(60, replace(SPEED, pixels_per_second=5e5))
    assert (decided.data.crop_size, decided.data.batch_size) == ([320, 320], 4)
    assert steps >= 50
    decided, steps = plan(60, replace(SPEED, pixels_per_second=1e5))
    assert (decided.data.crop_size, decided.data.batch_size) == ([128, 128], 4)
    decided, _ = plan(3600, replace(SPEED, pixels_per_second=1e9), facts=replace(FACTS, device="cuda"))
    assert (decided.data.crop_size, decided.data.batch_size) == ([360, 480], 16)
    decided, _ = plan(3600, replace(SPEED, pixels_per_second=1e9, largest_batch=3))
    assert decided.data.batch_size == 3  # more do not fit


def test_a_plan_counts_the_time_of_loading():
    fast = replace(SPEED, pixels_per_second=1e7, loading=0.02, cores=8, threads=0)
    assert fast.per_crop(1e5) == 0.02  # one worker is slower than the computation
    assert replace(fast, num_workers=4).per_crop(1e5) == 0.01
    assert replace(fast, num_workers=0).per_crop(1e5) == 0.03
    assert replace(fast, num_workers=4, cores=2, threads=2).per_crop(1e5) == 0.02  # shared cores
    _, steps = plan(600, replace(fast, loading=0.0))
    _, fewer = plan(600, replace(fast, loading=0.1))
    assert fewer < 0.2 * steps


def test_a_plan_resolves_every_null_except_the_length():
    decided, steps = plan(600)
    assert {option for option in PLANNED if value_of(decided, option) is None} == {"trainer.max_steps"}
    assert decided.trainer["max_epochs"] == -1
    assert decided.optim.warmup_steps == int(0.1 * steps)
    assert 600 * 0.12 / SPEED.validation - 1 <= steps / decided.trainer["val_check_interval"] <= 20


def test_a_plan_keeps_options_set_by_hand():
    config = Config(
        budget="1h",
        data=DataConfig(batch_size=5, crop_size=[64, 96]),
        optim=OptimConfig(lr=0.1),
        trainer={"max_steps": 7},
    )
    decided, _ = plan(600, config=config)
    assert (decided.data.batch_size, decided.data.crop_size) == (5, [64, 96])
    assert (decided.trainer, decided.optim.lr) == (config.trainer, 0.1)
