"""Options under `trainer.`: the accepted arguments of Lightning's Trainer, and alternatives to the others.

`TRAINER_ARGUMENTS` contains every argument of the installed Lightning. A test compares it with the Trainer's signature
and trains with each accepted argument. This module loads neither Lightning nor torch: a wrong name is refused at once.
"""

import re
from collections.abc import Mapping
from typing import Any

from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.times import as_budget

ACCEPTED = ""
# Argument -> ACCEPTED, or the reason and the alternative.
TRAINER_ARGUMENTS: dict[str, str] = {
    "accelerator": ACCEPTED,
    "strategy": ACCEPTED,
    "devices": ACCEPTED,
    "num_nodes": ACCEPTED,
    "precision": ACCEPTED,
    "logger": "choose one with logger=tensorboard, logger=wandb or logger=mlflow",
    "callbacks": "it takes Python objects; see ema, early_stopping, profile and checkpoint_every",
    "fast_dev_run": "it writes no checkpoint: use trainer.max_steps=1 trainer.limit_val_batches=1",
    "max_epochs": ACCEPTED,
    "min_epochs": ACCEPTED,
    "max_steps": ACCEPTED,
    "min_steps": ACCEPTED,
    "max_time": "it ends a run at a high learning rate: use budget=2h",
    "limit_train_batches": ACCEPTED,
    "limit_val_batches": ACCEPTED,
    "limit_test_batches": "training does not test: use segnet evaluate",
    "limit_predict_batches": "training does not predict: use segnet predict",
    "overfit_batches": ACCEPTED,
    "val_check_interval": ACCEPTED,
    "check_val_every_n_epoch": ACCEPTED,
    "num_sanity_val_steps": ACCEPTED,
    "log_every_n_steps": ACCEPTED,
    "enable_checkpointing": "a run always writes them: see checkpoint_every and checkpoint_minutes",
    "enable_progress_bar": "a terminal gets a progress bar, a file or TERM=dumb gets one line per validation",
    "enable_model_summary": ACCEPTED,
    "accumulate_grad_batches": ACCEPTED,
    "gradient_clip_val": ACCEPTED,
    "gradient_clip_algorithm": ACCEPTED,
    "deterministic": ACCEPTED,
    "benchmark": ACCEPTED,
    "inference_mode": ACCEPTED,
    "use_distributed_sampler": "segnet's sampler divides the samples among the processes",
    "profiler": ACCEPTED,
    "detect_anomaly": ACCEPTED,
    "barebones": "it disables checkpoints and metrics: measure speed with segnet benchmark",
    "plugins": "it takes Python objects",
    "sync_batchnorm": ACCEPTED,
    "reload_dataloaders_every_n_epochs": "every epoch draws a new order and new augmentations already",
    "default_root_dir": "the run folder is hydra.run.dir",
    "enable_autolog_hparams": "the whole configuration is logged, and written to config.yaml",
    "model_registry": "copy best.ckpt, or publish it with segnet.hub",
}
# An evaluation runs every image of a split once, in one process.
EVALUATION_ARGUMENTS = (
    *("accelerator", "devices", "num_nodes", "precision", "deterministic", "benchmark", "inference_mode"),
    "enable_model_summary",
)
STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_false", "ddp_find_unused_parameters_true")
# segnet's precisions -> Lightning's names; trainer.precision accepts the SYNONYMS too.
LIGHTNING_PRECISIONS = {"float32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
SYNONYMS = {"32": "32-true", "16": "16-mixed", **{word: word for word in LIGHTNING_PRECISIONS.values()}}


def accepted_arguments(*, evaluates: bool = False) -> list[str]:
    """The arguments that segnet accepts.

    Args:
        evaluates: those of an evaluation, which accepts fewer.
    """
    if evaluates:
        return list(EVALUATION_ARGUMENTS)
    return [name for name, reason in TRAINER_ARGUMENTS.items() if reason == ACCEPTED]


def check_trainer_arguments(options: Mapping[str, Any], *, evaluates: bool = False) -> None:
    """Check `trainer.` options: accepted arguments only, with values that cannot break exact resumption.

    Args:
        evaluates: check for an evaluation.

    Raises:
        ConfigError: the message names the option and an alternative.
    """
    accepted = accepted_arguments(evaluates=evaluates)
    for name in options:
        reason = TRAINER_ARGUMENTS.get(name)
        if reason is None:
            raise ConfigError(f"trainer.{name} is not an option of segnet's Trainer.{did_you_mean(name, accepted)}")
        if name == "max_time" and not evaluates:
            raise ConfigError(f"trainer.max_time={options[name]} {_as_budget_option(options[name])}")
        if reason:
            raise ConfigError(f"trainer.{name} is not available: {reason}")
        if name not in accepted:
            raise ConfigError(f"trainer.{name} is for training only: an evaluation runs each image of the split once")
    _require_trainer_choice("strategy", str(options.get("strategy", "auto")), STRATEGIES)
    precisions = (*LIGHTNING_PRECISIONS, *SYNONYMS)
    _require_trainer_choice("precision", str(options.get("precision") or "float32"), precisions)
    _check_trainer_values(options)


def _check_trainer_values(options: Mapping[str, Any]) -> None:
    interval = options.get("val_check_interval")
    if interval is not None and (isinstance(interval, bool) or not isinstance(interval, int | float)):
        raise ConfigError(
            f"trainer.val_check_interval={interval}: a resumed run cannot repeat time-based validations: use a number "
            "of batches (500) or a fraction of an epoch (0.5)"
        )
    if options.get("limit_train_batches") in (0, 0.0):
        raise ConfigError("trainer.limit_train_batches=0 leaves nothing to train on: use 1 or more, or a fraction")
    for name in ("accumulate_grad_batches", "check_val_every_n_epoch"):
        if isinstance(value := options.get(name), int) and value < 1:
            raise ConfigError(f"trainer.{name}={value} must be 1 or more")


def _as_budget_option(max_time: Any) -> str:
    """Return the end of an error about Lightning's time limit, with the equivalent budget."""
    parts = [float(part) for part in re.findall(r"\d+", str(max_time))] if isinstance(max_time, str) else []
    seconds = sum(part * unit for part, unit in zip(reversed(parts), (1, 60, 3600, 86400), strict=False))
    budget = as_budget(seconds) if seconds else "2h"
    return f"would end a run at a high learning rate: use budget={budget}, whose schedule ends in time"


def _require_trainer_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"trainer.{name}={value} is not available.{did_you_mean(value, choices)}")
