"""Options under `trainer.`: checked against Lightning's signature, and translated to its arguments."""

import inspect
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from segnet.components import check_options
from segnet.config import PRECISIONS, Config
from segnet.errors import ConfigError
from segnet.system.machine import usable_precision
from segnet.trainer_arguments import LIGHTNING_PRECISIONS, SYNONYMS, accepted_arguments, check_trainer_arguments


def check_trainer_options(options: Mapping[str, Any], *, evaluates: bool = False) -> None:
    """Check `trainer.` options: accepted arguments only, with values that cannot fail later or break exact resumption.

    Args:
        evaluates: check for an evaluation, which accepts fewer arguments.

    Raises:
        ConfigError: the message names the option and an alternative.
    """
    check_trainer_arguments(options, evaluates=evaluates)
    accepted = accepted_arguments(evaluates=evaluates)
    others = set(inspect.signature(pl.Trainer.__init__).parameters) - set(accepted)
    check_options("trainer", "segnet's Trainer", pl.Trainer.__init__, options, exclude=others)


def resolve_trainer_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Translate `trainer.` options to arguments of Lightning's Trainer.

    * `max_steps` alone sets the length of the run: Lightning would also stop at `max_epochs`, which has a default here.
    * `val_check_interval` counts batches across epochs.
    * `overfit_batches` limits both splits. The datamodule keeps the order of the samples, as Lightning's sampler would.
    * A CPU without bf16 instructions computes in float32.
    """
    options = dict(options)
    max_steps, interval = options.get("max_steps"), options.get("val_check_interval")
    if isinstance(max_steps, int) and max_steps > 0:
        options["max_epochs"] = -1
    if isinstance(interval, int):
        options.setdefault("check_val_every_n_epoch", None)
    if overfit := options.pop("overfit_batches", 0):
        options["limit_train_batches"] = options["limit_val_batches"] = overfit
    if options.get("precision") is not None:
        options["precision"] = _lightning_precision(str(options["precision"]), options)
    return options


def precision_option(config: Config) -> dict[str, Any]:
    """Return the `precision` argument of Lightning's Trainer.

    `trainer.precision` is accepted too, by segnet's or Lightning's names.

    Raises:
        ConfigError: an unknown precision, two different ones, or fp16 on a CPU.
    """
    if config.precision not in PRECISIONS:
        raise ConfigError(f"precision={config.precision} is unknown: choose from {', '.join(PRECISIONS)}")
    word = config.trainer.get("precision")
    if word is None:
        return {"precision": _lightning_precision(config.precision, config.trainer)}
    given = LIGHTNING_PRECISIONS.get(str(word)) or SYNONYMS.get(str(word))
    if config.precision != "float32" and given != LIGHTNING_PRECISIONS[config.precision]:
        raise ConfigError(f"precision={config.precision} contradicts trainer.precision={word}: leave out one of them")
    return {"precision": _lightning_precision(str(word), config.trainer)}


def _lightning_precision(word: str, options: Mapping[str, Any]) -> str:
    """Return Lightning's name of a precision, replaced by float32 if the device cannot compute it."""
    word = LIGHTNING_PRECISIONS.get(word) or SYNONYMS[word]
    [precision] = [name for name, theirs in LIGHTNING_PRECISIONS.items() if theirs == word]
    device = device_type(options)
    if precision == "fp16" and device == "cpu":
        raise ConfigError("precision=fp16 needs a GPU: use float32 or bf16 on a CPU")
    return LIGHTNING_PRECISIONS[usable_precision(precision, device)]


def device_type(options: Mapping[str, Any]) -> str:
    """Return torch's type of the device that these options choose: "cpu", "cuda" or "mps"."""
    accelerator = str(options.get("accelerator", "auto"))
    if accelerator not in ("auto", "gpu"):
        return accelerator
    if torch.backends.mps.is_available():
        return "mps"
    return "cuda" if accelerator == "gpu" or torch.cuda.is_available() else "cpu"
