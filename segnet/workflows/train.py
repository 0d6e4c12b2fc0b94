"""Train a model: connect data, task and Trainer, and evaluate the best checkpoint; without Hydra."""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from segnet.config import Config, DataConfig, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.scan.report import DatasetReport
from segnet.data.semi_supervised import UnlabeledStream
from segnet.errors import ConfigError
from segnet.images.drawing import plot_curves
from segnet.inference.predictor import Predictor
from segnet.inference.tta import Inference
from segnet.losses.class_weight import LabelCounts, with_class_weights
from segnet.models.checkpoint import fitting, read_checkpoint
from segnet.option_values import calibration_kind
from segnet.published.zoo import with_found_model
from segnet.system.machine import explained
from segnet.system.signals import ending_at_once
from segnet.training.calibration import num_trained_images
from segnet.training.callbacks.budget_clock import budget_clock
from segnet.training.callbacks.configured import configured_callbacks
from segnet.training.callbacks.restore_errors import RestoreErrors
from segnet.training.consistency import consistency_of
from segnet.training.distributed import (
    broadcast_checkpoint,
    is_rank_zero,
    launch_environment_restored,
    require_world_size,
    terminate_child_processes,
)
from segnet.training.finetuning import require_same_model
from segnet.training.initial_weights import (
    load_initial_weights,
    log_origin,
    read_backbone_weights,
    resolve_backbone_weights,
)
from segnet.training.loggers import build_logger
from segnet.training.plan import chosen
from segnet.training.run_config import add_steps, with_choices_of_run, write_config
from segnet.training.run_data import RunData
from segnet.training.run_folder import (
    checkpoint_to_resume,
    remove_temporary_files,
    require_run_folder,
    run_folder,
    write_errors_explained,
)
from segnet.training.run_lock import locked
from segnet.training.specs import complete_specs
from segnet.training.task import SegmentationTask
from segnet.training.task_limits import require_fitting_task
from segnet.training.teacher import Distillation
from segnet.training.trainer import best_checkpoint, fit, require_gpus_for_sync_batch_norm, training_trainer
from segnet.weights.names import Weights
from segnet.weights.normalization import resolve_normalization
from segnet.workflows.calibrate import store_fitted_temperature
from segnet.workflows.decisions import decided, fitted, start_clock
from segnet.workflows.evaluate import Results, device_options, evaluate
from segnet.workflows.messages import announce, never_predicted
from segnet.workflows.report import unlabeled_facts, write_preview, write_report

log = logging.getLogger(__name__)

LOWER_TRAINING = "data.batch_size or data.crop_size, or set precision=bf16 or backbone.activation_checkpointing=true"


@launch_environment_restored()
def train(config: Config, output_dir: Path, elapsed: float = 0.0) -> Results | None:
    """Train a configuration, and evaluate the best checkpoint on the val split.

    In distributed training rank zero evaluates and returns the results; the other processes return None.

    Args:
        config: the configuration.
        output_dir: the run folder of a new run; a resumed run (`config.checkpoint`) keeps its own folder.
        elapsed: time since the process started; it is part of a budget [s].

    Writes into the run folder: config.yaml, best.ckpt, last.ckpt, metrics.csv, curves.png, preview.png, results.json,
    report.html.

    Raises:
        SegnetError: an option, a file or the machine cannot be used.
        Interrupted: a signal stopped the run; last.ckpt is up to date.
    """
    start = time.monotonic() - elapsed
    clock = start_clock(config, elapsed)
    config = replace(with_found_model(config), calibrate=calibration_kind(config.calibrate))
    given, config = complete_specs(config), resolve_backbone_weights(complete_specs(fitted(config, clock)))
    pl.seed_everything(config.seed, workers=True, verbose=False)
    data = RunData(config.dataset, config.unlabeled)
    checkpoint = checkpoint_to_resume(config, output_dir, data) if is_rank_zero() else None
    folder = run_folder(checkpoint, output_dir)
    loggers = [build_logger(config.logger, folder)] if config.logger else []
    restore_errors = RestoreErrors()
    own = [*([clock] if clock else []), restore_errors, data]
    trainer = training_trainer(config, folder, [*own, *configured_callbacks(config)], loggers)
    require_world_size(trainer)
    checkpoint = broadcast_checkpoint(trainer, checkpoint)
    config, datamodule, task = prepare(config, data, checkpoint, trainer)
    if chosen(given, config):  # a Trainer cannot change its options later
        trainer = training_trainer(config, folder, [*own, *configured_callbacks(config)], loggers)
    task.inference = Inference(**asdict(config.validation))
    require_gpus_for_sync_batch_norm(trainer, task)
    with explained(_crops(config.data), LOWER_TRAINING), write_errors_explained(folder), ExitStack() as stack:
        if is_rank_zero():
            stack.enter_context(locked(folder))
            remove_temporary_files(folder)
            log.info("run folder: %s", folder)
            write_config(folder, config, given)
            announce(config, given, datamodule, task, trainer)
            for logger in loggers if checkpoint is None else []:
                logger.log_hyperparams(asdict(config))
        if config.compile:
            task.compile_network()
        try:
            fit(trainer, task, datamodule, checkpoint)
        except BaseException as error:
            terminate_child_processes(trainer)
            restore_errors.explain(error, checkpoint)
            raise
        if not is_rank_zero():
            return None
        if torch.distributed.is_initialized():  # the evaluation must not reduce counts over other processes
            torch.distributed.destroy_process_group()
        with ending_at_once(f"after the training: evaluate with checkpoint={folder / 'last.ckpt'}"):
            return _finish(config, folder, trainer, datamodule, start)


def prepare(
    config: Config, data: RunData, checkpoint: Path | None, trainer: pl.Trainer
) -> tuple[Config, SegmentationDataModule, SegmentationTask]:
    """Load and check data, model and initial weights of a run.

    Args:
        config: the configuration.
        data: the splits.
        checkpoint: the checkpoint to resume from; None: a new run.
        trainer: the configured Trainer; its device, world size and accumulated batches determine defaults.

    Returns:
        The resolved configuration, the data, and the task with its initial weights.

    Raises:
        SegnetError: an option or a file cannot be used.
    """
    resumed = read_checkpoint(checkpoint) if checkpoint else None
    started = read_checkpoint(config.init_from) if config.init_from and not resumed else None
    splits, images = data.splits, data.unlabeled  # first: a missing folder is an error before weights are downloaded
    weights = None if resumed or started else read_backbone_weights(config.backbone_weights)
    base = resumed or started
    normalized_as = _normalization_of(base, str(checkpoint or config.init_from)) if base else weights
    mean, std = resolve_normalization(config.mean, config.std, normalized_as, _num_channels(config))
    stream = UnlabeledStream(images, config.consistency) if images is not None else None
    options: dict[str, Any] = {"splits": splits, "unlabeled": stream}
    options["fixed_order"] = bool(config.trainer.get("overfit_batches"))
    datamodule = SegmentationDataModule(config.dataset, config.data, mean, config.seed, **options)
    require_fitting_task(config, datamodule.classes, resumed, checkpoint)
    if resumed and checkpoint:
        config = with_choices_of_run(config, checkpoint, resumed["hyper_parameters"]["optim"])
    distillation = distillation_of(config, datamodule, resumed, checkpoint)
    config = decided(config, datamodule, trainer, bool(resumed), distillation)
    config = replace(config, mean=mean, std=std, checkpoint=None)  # for config.yaml
    datamodule.use(config.data)
    model = {"backbone": config.backbone, "decoder": config.decoder, "mean": mean, "std": std}
    if (value_range := datamodule.split("train").value_range) is not None:
        model["value_range"] = list(value_range)
    task = SegmentationTask.create(
        model=model,
        classes=datamodule.classes,
        loss=with_class_weights(config.loss, datamodule.classes.names, lambda: label_counts(datamodule)),
        optim=config.optim,
        frozen_stages=config.frozen_stages,
        norm_eval=config.norm_eval,
        auxiliary_head=config.auxiliary_head,
    )
    task.distillation, task.consistency = distillation, consistency_of(config, datamodule.classes.ignore_index)
    task.model.check_training_batch(known(config.data.batch_size), *known(config.data.crop_size))
    task.model.zero_unreached_taps(*known(config.data.crop_size))
    if resumed and checkpoint:
        with fitting(checkpoint):
            require_same_model(task, resumed, task.hparams["model"], checkpoint)
    loaded = load_initial_weights(task, weights, started, str(config.init_from))
    datamodule.check(trainer.world_size)
    log_origin(config, checkpoint, loaded)  # last: an error of the dataset is the only line
    return config, datamodule, task


def _normalization_of(checkpoint: Mapping[str, Any], source: str) -> Weights:
    """Return the normalization of a checkpoint, without weights."""
    spec = checkpoint["hyper_parameters"]["model"]
    return Weights(source, "segnet", {}, tuple(spec["mean"]), tuple(spec["std"]), {})


def distillation_of(
    config: Config, datamodule: SegmentationDataModule, resumed: Mapping[str, Any] | None, checkpoint: Path | None
) -> Distillation | None:
    """Load the teacher of a run; None without one.

    Args:
        resumed: the content of `checkpoint`, the one to resume from; None: a new run.

    Raises:
        ConfigError: a loss without a teacher, or as in `Distillation`.
        CheckpointError, MachineError: the teacher cannot be loaded, or is not the one of `checkpoint`.
    """
    if config.teacher is None:
        if config.distillation is not None:
            raise ConfigError(f"distillation={config.distillation.get('name')} needs a teacher: set teacher=best.ckpt")
        return None
    value_range = datamodule.split("train").value_range
    spec = known(config.distillation)
    distillation = Distillation(spec, config.teacher, datamodule.classes, _num_channels(config), value_range)
    if resumed is not None:
        distillation.require_teacher_of(resumed, checkpoint)
    return distillation


def _num_channels(config: Config) -> int:
    """Number of image channels; 3 for values that the backbone refuses."""
    channels = config.backbone.get("in_channels", 3)
    return channels if isinstance(channels, int) and channels >= 1 else 3


def label_counts(datamodule: SegmentationDataModule) -> LabelCounts:
    """Count the pixels of each class in the training masks.

    Raises:
        DataError: a file of the train split cannot be used.
    """
    report = datamodule.report("train")
    DatasetReport([report]).require_sound()
    labels = range(len(datamodule.classes.names))
    return LabelCounts(
        np.array([report.pixels[label] for label in labels], float),
        np.array([report.labeled_where_present[label] for label in labels], float),
    )


def _finish(
    config: Config, folder: Path, trainer: pl.Trainer, datamodule: SegmentationDataModule, start: float
) -> Results:
    """Evaluate the best checkpoint, and write results, curves, preview and report."""
    require_run_folder(folder)
    best = best_checkpoint(trainer, folder)
    task = trainer.lightning_module
    assert isinstance(task, SegmentationTask)
    calibrate = None if datamodule.classes.is_multilabel else config.calibrate  # each class has its own sigmoid
    if calibrate and num_trained_images(datamodule, "val"):
        log.info("not calibrated: the model was trained on images of val")
        calibrate = None
    results = evaluate(
        best,
        dataset=config.dataset,
        split="val",
        data=config.data,
        trainer=device_options(config.trainer),
        inference=Inference(**asdict(config.validation)),
        boundary=config.boundary,
        calibrate=calibrate,
    )
    store_fitted_temperature(results, calibrate)
    facts = {
        "epochs": trainer.current_epoch,
        "steps": trainer.global_step,
        "parameters": sum(p.numel() for p in task.model.parameters()),
        "seconds": round(time.monotonic() - start, 1),
    }
    facts |= unlabeled_facts(trainer, datamodule)
    if clock := budget_clock(trainer):
        add_steps(folder, trainer.global_step, clock.interval)
    results.write(folder / "results.json", **facts, config=asdict(config))
    if warning := never_predicted(results):
        log.warning(warning)
    if (folder / "metrics.csv").exists():  # a short run may not have logged anything
        plot_curves(folder / "metrics.csv", folder / "curves.png")
    predictor = Predictor(best)
    write_preview(predictor, datamodule.split("val"), folder / "preview.png")
    write_report(folder, results, datamodule.split("val"), facts, config.worst_images, predictor)
    return results


def _crops(data: DataConfig) -> str:
    return f"data.batch_size={data.batch_size} and data.crop_size={data.crop_size}"
