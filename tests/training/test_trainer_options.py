"""Every argument of Lightning's Trainer: accepted and trained with, or refused in one line."""

import inspect

import pytest
import pytorch_lightning as pl
import torch
from tiny import CPU, SHAPES, configuration

from segnet.config import Config, DataConfig
from segnet.errors import ConfigError, SegnetError
from segnet.models.checkpoint import read_checkpoint
from segnet.system import machine
from segnet.trainer_arguments import EVALUATION_ARGUMENTS, STRATEGIES, TRAINER_ARGUMENTS
from segnet.training.task import SegmentationTask
from segnet.training.trainer import evaluation_trainer, training_trainer
from segnet.workflows.evaluate import evaluate
from segnet.workflows.train import train

ACCEPTED = {name for name, reason in TRAINER_ARGUMENTS.items() if not reason}
# Argument -> options of tiny runs. The tests of each module check the effect of its options.
TRIED = {
    "accelerator": [{"accelerator": "cpu"}],
    "strategy": [{"strategy": strategy} for strategy in STRATEGIES],
    "devices": [{"devices": 1}, {"devices": "auto"}, {"devices": "1"}],
    "num_nodes": [{"num_nodes": 1}],
    "precision": [{"precision": precision} for precision in ("32-true", 32, "float32", "bf16-mixed", "bf16")],
    "max_epochs": [{"max_epochs": 1}],
    "min_epochs": [{"min_epochs": 1}],
    "max_steps": [{"max_steps": 1}],
    "min_steps": [{"min_steps": 1}],
    "limit_train_batches": [{"limit_train_batches": 1}, {"limit_train_batches": 0.5}],
    "limit_val_batches": [{"limit_val_batches": 1}, {"limit_val_batches": 0.5}, {"limit_val_batches": 0}],
    "overfit_batches": [{"overfit_batches": 1}, {"overfit_batches": 0.5}, {"overfit_batches": 0}],
    "val_check_interval": [{"val_check_interval": 1}, {"val_check_interval": 0.5}],
    "check_val_every_n_epoch": [{"check_val_every_n_epoch": 2}],
    "num_sanity_val_steps": [{"num_sanity_val_steps": 1}, {"num_sanity_val_steps": -1}],
    "log_every_n_steps": [{"log_every_n_steps": 1}, {"log_every_n_steps": 0}],
    "enable_model_summary": [{"enable_model_summary": True}],
    "accumulate_grad_batches": [{"accumulate_grad_batches": 2}],
    "gradient_clip_val": [{"gradient_clip_val": 1}],
    "gradient_clip_algorithm": [
        {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
        {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "norm"},
    ],
    "deterministic": [{"deterministic": True}, {"deterministic": "warn"}],
    "benchmark": [{"benchmark": True}],
    "inference_mode": [{"inference_mode": False}],
    "profiler": [{"profiler": "simple"}, {"profiler": "advanced"}, {"profiler": "pytorch"}],
    "detect_anomaly": [{"detect_anomaly": True}],
    "sync_batchnorm": [{"sync_batchnorm": True}, {"sync_batchnorm": False}],
}
# The same arguments combined in a few runs.
TOGETHER = [
    {
        "max_epochs": 2,
        "min_epochs": 1,
        "min_steps": 1,
        "limit_train_batches": 3,
        "limit_val_batches": 1,
        "val_check_interval": 0.5,
        "check_val_every_n_epoch": 2,
        "num_sanity_val_steps": 1,
        "log_every_n_steps": 1,
        "accumulate_grad_batches": 2,
        "gradient_clip_val": 0.5,
        "gradient_clip_algorithm": "value",
        "enable_model_summary": True,
        "benchmark": True,
        "inference_mode": False,
        "detect_anomaly": True,
        "profiler": "simple",
        "deterministic": "warn",
        "num_nodes": 1,
        "devices": "auto",
    },
    {"max_steps": 3, "overfit_batches": 1, "strategy": "ddp", "precision": "bf16-mixed"},
    {
        "max_epochs": 1,
        "limit_val_batches": 0,
        "precision": 32,
        "profiler": "advanced",
        "accelerator": "cpu",
        "sync_batchnorm": True,
    },
]
SMALL = {**SHAPES, "num_train": 8, "num_val": 2}


@pytest.fixture(autouse=True)
def _deterministic_algorithms_stay_off():
    yield
    torch.use_deterministic_algorithms(False)


def test_the_table_contains_every_argument_of_lightning_s_trainer():
    assert set(inspect.signature(pl.Trainer.__init__).parameters) - {"self"} == set(TRAINER_ARGUMENTS)


def test_every_accepted_argument_is_tested():
    assert set(TRIED) == ACCEPTED
    assert {name for options in TOGETHER for name in options} == ACCEPTED


@pytest.mark.parametrize("options", TOGETHER, ids=range(len(TOGETHER)))
def test_a_run_with_many_arguments_completes(options, tmp_path):
    results = train(configuration(trainer={**CPU, **options}, dataset=SMALL), tmp_path)
    assert results.num_images == 2
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [pytest.param(options, id=str(options)) for name in TRIED for options in TRIED[name]]
)
def test_a_run_with_the_argument_completes(options, tmp_path):
    trainer = {**CPU, "max_epochs": 1, "log_every_n_steps": 1, **options}
    results = train(configuration(trainer=trainer, dataset=SMALL), tmp_path)
    assert results.num_images == 2
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", sorted(set(TRAINER_ARGUMENTS) - ACCEPTED))
def test_other_arguments_are_refused_with_an_alternative(name, tmp_path):
    with pytest.raises(ConfigError, match=rf"^trainer\.{name}( is not available: |=1 .+: use ).+") as caught:
        train(configuration(trainer={**CPU, name: 1}), tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "fsdp"}, r"strategy=fsdp is not available.*Choose from: auto, ddp"),
        ({"strategy": "deepspeed_stage_2"}, "strategy=deepspeed_stage_2 is not available"),
        ({"strategy": "ddp_spawn"}, "strategy=ddp_spawn is not available"),
        ({"precision": "64-true"}, r"precision=64-true is not available.*32-true"),
        ({"precision": "bf16-true"}, "precision=bf16-true is not available.*Did you mean 'bf16-mixed'"),
        ({"precision": "16-mixed"}, "precision=fp16 needs a GPU"),
        ({"val_check_interval": "00:10:00"}, "val_check_interval=00:10:00: a resumed run cannot repeat"),
        ({"val_check_interval": {"minutes": 10}}, "val_check_interval=.*minutes.*: a resumed run cannot repeat"),
        ({"val_check_interval": 9, "check_val_every_n_epoch": 1}, "val_check_interval=9 is above the 2 batches"),
        ({"val_check_interval": 0.5, "check_val_every_n_epoch": None}, "check_val_every_n_epoch"),
        ({"accumulate_grad_batches": 0}, "accumulate_grad_batches=0 must be 1 or more"),
        ({"check_val_every_n_epoch": 0}, "check_val_every_n_epoch=0 must be 1 or more"),
        ({"gradient_clip_algorithm": "size"}, "gradient_clip_algorithm"),
        ({"limit_train_batches": 0}, "limit_train_batches=0 leaves nothing to train on"),
        ({"limit_train_batches": 0.1}, r"0\.1 \* 2 < 1"),
        ({"profiler": "nvidia"}, "profiler"),
        ({"accelerator": "abacus"}, "accelerator"),
        ({"devices": 0}, "devices"),
        ({"max_epoch": 1}, r"trainer\.max_epoch is not an option of .*Did you mean 'max_epochs'"),
    ],
)
def test_impossible_values_are_a_one_line_error(options, message, tmp_path):
    with pytest.raises(SegnetError, match=message) as caught:
        train(configuration(trainer={**CPU, "max_epochs": 1, **options}, dataset=SMALL), tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks for a GPU")
def test_a_missing_gpu_is_a_one_line_error(tmp_path):
    with pytest.raises(ConfigError, match=r"trainer: Lightning rejects the options: .*CUDAAccelerator"):
        train(configuration(trainer={"accelerator": "cuda", "devices": 1, "max_epochs": 1}), tmp_path)


@pytest.mark.parametrize("name", EVALUATION_ARGUMENTS)
def test_an_evaluation_accepts_its_arguments(name, run):
    folder, results = run
    for options in TRIED[name]:
        data = DataConfig(num_workers=0)
        again = evaluate(folder / "best.ckpt", dataset=SHAPES, split="val", data=data, trainer={**CPU, **options})
        if name != "precision":
            assert again.scores.miou == results.scores.miou


@pytest.mark.parametrize("name", sorted(ACCEPTED - set(EVALUATION_ARGUMENTS)))
def test_an_evaluation_refuses_training_arguments(name):
    with pytest.raises(ConfigError, match=rf"trainer\.{name} is for training only: an evaluation runs each image"):
        evaluation_trainer({name: 1})


def test_overfit_batches_repeats_the_same_batches_every_epoch(tmp_path, monkeypatch):
    seen, original = [], SegmentationTask.training_step

    def training_step(self, batch, batch_idx):
        seen.append(tuple(batch["name"]))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", training_step)
    train(configuration(trainer={**CPU, "max_epochs": 3, "overfit_batches": 2}), tmp_path)
    assert len(seen) == 6
    assert seen[:2] == seen[2:4] == seen[4:]
    assert len(set(seen[0] + seen[1])) == 8


@pytest.mark.parametrize("precision", ["bf16-mixed"])
def test_a_cpu_without_bf16_trains_in_float32_with_one_warning(precision, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(machine, "cpu_has_bf16", lambda: False)
    machine._warn_of_missing_bf16.cache_clear()
    config = {"dataset": SMALL, "data": DataConfig(batch_size=4, crop_size=[32, 32], num_workers=0)}
    for name, value in (("emulated", precision), ("plain", "32-true")):
        options = {**CPU, "max_epochs": 1, "precision": value}
        train(configuration(trainer=options, **config), tmp_path / name)
    assert [message for message in caplog.messages if "bf16" in message] == [
        "precision=bf16: this CPU has no bf16 instructions (AVX512-BF16, AMX or Arm BF16): float32 is used"
    ]
    weights = [read_checkpoint(tmp_path / name / "last.ckpt")["state_dict"] for name in ("emulated", "plain")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"trainer": {"sync_batchnorm": True}},
        {"trainer": {"sync_batchnorm": True, "devices": 1, "strategy": "ddp"}},
        {"norm": "sync_batch"},
    ],
)
def test_sync_batch_norm_of_two_cpu_processes_is_refused(changes, tmp_path, monkeypatch):
    config = configuration(trainer={**CPU, "devices": 2, "max_epochs": 1, **changes.get("trainer", {})})
    if "norm" in changes:
        config.backbone["norm"] = config.decoder["norm"] = {"name": "sync_batch"}
    with pytest.raises(ConfigError, match=r"batch norm in several processes needs GPUs: use norm\.name=group"):
        train(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_max_steps_overrides_max_epochs_and_intervals_span_epochs(tmp_path):
    options = {**CPU, "max_steps": 10, "max_epochs": 1, "val_check_interval": 3}
    trainer = training_trainer(configuration(trainer=options), tmp_path)
    assert (trainer.max_epochs, trainer.max_steps, trainer.check_val_every_n_epoch) == (-1, 10, None)


def test_a_trainer_option_keeps_the_other_defaults(tmp_path):
    trainer = training_trainer(configuration(trainer={**CPU, "max_epochs": 7}), tmp_path)
    assert (trainer.max_epochs, trainer.log_every_n_steps) == (7, Config().trainer["log_every_n_steps"])
