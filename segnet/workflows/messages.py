"""Messages at the start and end of a run: greeting, warning about missing classes, next commands."""

import logging
import shlex
from pathlib import Path

import pytorch_lightning as pl

from segnet.components import as_options
from segnet.config import Config, OptimConfig, known
from segnet.data.augment.presets import augment_summary
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import counted, listed
from segnet.system.machine import machine_line
from segnet.trainer_arguments import LIGHTNING_PRECISIONS
from segnet.training.batches import step_summary
from segnet.training.callbacks.budget_clock import budget_clock
from segnet.training.optim import parameter_groups
from segnet.training.plan import FEW_STEPS, Facts, chosen, num_steps, planned, steps_per_epoch
from segnet.training.task import SegmentationTask
from segnet.workflows.decisions import facts_of
from segnet.workflows.evaluate import Results

log = logging.getLogger(__name__)

MOST_CLASSES = 12  # classes that are named in one line


def announce(
    config: Config, given: Config, datamodule: SegmentationDataModule, task: SegmentationTask, trainer: pl.Trainer
) -> None:
    """Log the data, model, machine, augmentation and length of a run, and the chosen options.

    Args:
        config: the resolved configuration.
        given: the given configuration, with nulls.
    """
    facts = facts_of(config, datamodule, trainer)
    for line in greeting(config, datamodule, task, trainer, facts):
        log.info(line)
    if options := chosen(given, config):
        log.info("chosen: %s", as_options(options))
    batch_size = known(config.data.batch_size)
    log.info(step_summary(config.optim, batch_size, trainer.world_size, trainer.accumulate_grad_batches))
    if rates := range_of_rates(task, config.optim):
        log.info(rates)
    if warning := few_steps(config, facts):
        log.warning(warning)


def greeting(
    config: Config, datamodule: SegmentationDataModule, task: SegmentationTask, trainer: pl.Trainer, facts: Facts
) -> list[str]:
    """Describe the data, the model, the machine, the augmentation and the length of a run, one line each."""
    names = datamodule.classes.names
    backbone, decoder = config.backbone, config.decoder
    depth = backbone.get("model") or backbone.get("depths", "")
    parameters = sum(parameter.numel() for parameter in task.model.parameters())
    precision = next((word for word, theirs in LIGHTNING_PRECISIONS.items() if theirs == trainer.precision), "")
    height, width = known(config.data.crop_size)
    interval = config.trainer.get("val_check_interval")
    validated = f", validated every {interval:,} batches" if isinstance(interval, int) else ""
    return [
        f"data: {facts.num_train:,} train and {facts.num_val:,} val images; {len(names)} "
        f"{'overlapping ' if datamodule.classes.is_multilabel else ''}classes: "
        f"{listed(names, MOST_CLASSES)}",
        *_unlabeled_line(config, datamodule, task),
        f"model: {backbone['name']} {depth}, {decoder['name']}, output stride {config.output_stride}, "
        f"{parameters / 1e6:.2f} M parameters",
        *([f"teacher: {task.distillation.describe()}"] if task.distillation else []),
        f"machine: {machine_line(trainer.strategy.root_device)}; {precision or trainer.precision}",
        f"augmentation: {augment_summary(config.data, len(known(config.mean)))}",
        f"length: {_length_line(config, trainer, facts)} of {known(config.data.batch_size)} crops of {height} x {width}"
        f"{validated}",
    ]


def range_of_rates(task: SegmentationTask, optim: OptimConfig) -> str:
    """Describe the peak learning rates of the model's parts; empty if all have the same."""
    groups = parameter_groups(task, task.model.backbone, optim)
    rates = list(dict.fromkeys(group["lr"] for group in groups))
    if len(rates) < 2:
        return ""
    return f"learning rates: {rates[0]:.3g} in the decoder, {rates[1]:.3g} in the backbone" + (
        f" down to {rates[-1]:.3g} in its first layers" if len(rates) > 2 else ""
    )


def _unlabeled_line(config: Config, datamodule: SegmentationDataModule, task: SegmentationTask) -> list[str]:
    if datamodule.unlabeled is None or task.consistency is None:
        return []
    options, size = config.consistency, datamodule.unlabeled.size(known(config.data.batch_size))
    teacher = "ema" if task.consistency.uses_ema else "model"
    return [
        f"unlabeled: {len(datamodule.unlabeled.images):,} images, {size} in a batch; consistency weight "
        f"{options.weight:g}, threshold {options.threshold:g}, teacher {teacher}"
    ]


def _length_line(config: Config, trainer: pl.Trainer, facts: Facts) -> str:
    steps, about = num_steps(config, facts), ""
    if clock := budget_clock(trainer):
        steps, about = steps or clock.planned_steps, f"{config.budget}, about "
    epochs = steps / steps_per_epoch(config, facts)
    return f"{about}{counted(steps, 'step')} ({epochs:.{0 if epochs >= 10 else 1}f} epochs)"


def few_steps(config: Config, facts: Facts) -> str:
    """Return a warning about a length set by hand that is very short; empty otherwise."""
    steps = num_steps(config, facts)
    if not 0 < steps < FEW_STEPS:
        return ""
    unset = {name: value for name, value in config.trainer.items() if name not in ("max_epochs", "max_steps")}
    more = planned(Config(data=config.data, trainer=unset), facts).trainer["max_steps"]
    few = "1 step is" if steps == 1 else f"{steps:,} steps are"
    return f"{few} few: without trainer.max_epochs and trainer.max_steps the run would take {more:,}"


def never_predicted(results: Results) -> str:
    """Return a warning about classes that occur in the true masks but in no prediction; empty otherwise."""
    counts = zip(results.classes.names, results.totals, strict=True)
    missing = [name for name, (true, predicted) in counts if true and not predicted]
    if not missing:
        return ""
    one = len(missing) == 1
    return (
        f"{'a class is' if one else f'{len(missing)} classes are'} never predicted: {listed(missing, MOST_CLASSES)}: "
        "train longer, or with loss.class_weight=auto data.oversample_rare=0.1; segnet inspect shows the pixels of each"
    )


def next_commands(config: Config, checkpoint: Path) -> str:
    """Format the usual next commands after training, in one line."""
    path = shlex.quote(str(checkpoint))
    dataset = {"dataset": config.dataset["name"]} | {
        f"dataset.{name}": value for name, value in config.dataset.items() if name != "name" and value is not None
    }
    return (
        f"next: segnet predict IMAGES --checkpoint {path}; segnet evaluate {path} flip=true; "
        f"segnet inspect {as_options(dataset)}"
    )
