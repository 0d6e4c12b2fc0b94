"""Average the weights of checkpoints, and re-estimate the running statistics of the model's batch norms.

The mean of several runs from the same pretrained weights, or of several checkpoints of one run, predicts at the cost of
one model (SWA, arXiv 1803.05407; model soups, arXiv 2203.05482). The mean of their running statistics does not fit the
averaged weights. They are re-estimated on augmented train images, as torch's `update_bn` does. With several classes per
pixel, the thresholds of the average are chosen on val, as those of a training are.
"""

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from segnet.config import DataConfig, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.scan.crop_fill import fitting_crop
from segnet.errors import CheckpointError, ConfigError, printable
from segnet.models.checkpoint import fitting, read_checkpoint, save_checkpoint
from segnet.system.files import replacing
from segnet.system.signals import ending_at_once
from segnet.training.plan import BATCH_SIZE, LARGEST_CROP_OF_GPU
from segnet.training.run_config import stored_config
from segnet.training.task import SegmentationTask
from segnet.training.trainer import evaluation_trainer
from segnet.verb_config import AverageConfig
from segnet.workflows.evaluate import Results, evaluate, require_same_classes

log = logging.getLogger(__name__)

AVERAGE = "average.ckpt"  # in the run folder
HOW_TO = "average checkpoints of one run, or runs that started from the same pretrained weights"


@dataclass(frozen=True, slots=True)
class Average:
    """An averaged checkpoint and its scores.

    Attributes:
        path: the checkpoint.
        num_images: train images that the running statistics were estimated from; 0: the model has none to estimate.
        inputs: scores of the checkpoints that were averaged.
        results: scores of the average.
    """

    path: Path
    num_images: int
    inputs: list[Results]
    results: Results


def average(config: AverageConfig, checkpoints: Sequence[Path], output_dir: Path) -> Average:
    """Average checkpoints, write average.ckpt and results.json, and evaluate the average and each checkpoint.

    Args:
        config: options; its `dataset` is complete.
        checkpoints: at least two files of the same architecture and classes.
        output_dir: where the files are written.

    Raises:
        SegnetError: a checkpoint, the data or an option cannot be used, or the models differ.
    """
    if len(checkpoints) < 2:
        raise ConfigError(f"average: {checkpoints[0]} is one checkpoint: name two or more")
    if config.num_images < 2:
        raise ConfigError(f"num_images={config.num_images} must be 2 or more train images")
    path = output_dir / AVERAGE
    device = evaluation_trainer(config.trainer).strategy.root_device
    with ending_at_once("while averaging: average.ckpt was not written"):
        hyper_parameters, state = averaged(checkpoints)
        with fitting(checkpoints[0]):
            task = SegmentationTask(**hyper_parameters)
            task.load_state_dict(state)
        data = _train_data(config, checkpoints[0], task)
        num_images = reestimate_norms(task.to(device), _crop_batches(data, config.num_images))
        save_checkpoint({"state_dict": task.cpu().state_dict(), "hyper_parameters": hyper_parameters}, path)
        if task.classes.is_multilabel:
            _choose_thresholds(path, config)
    with replacing(output_dir / "config.yaml") as temporary:  # the dataset of the average, for evaluate and export
        temporary.write_text(yaml.safe_dump({"dataset": dict(config.dataset)}, sort_keys=False), encoding="utf-8")
    *inputs, results = (_scores(checkpoint, config) for checkpoint in (*checkpoints, path))
    before = {str(one.checkpoint): one.scores.miou for one in inputs}
    results.write(output_dir / "results.json", averaged=before, num_images_of_norms=num_images)
    best = max(inputs, key=lambda one: one.scores.miou)
    if results.scores.miou < best.scores.miou:
        log.warning("the average is worse than %s: %s", best.checkpoint, HOW_TO)
    return Average(path, num_images, inputs, results)


def averaged(checkpoints: Sequence[Path]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the hyperparameters and the mean state dict of checkpoints; counters are those of the first one.

    Raises:
        CheckpointError: a checkpoint cannot be read, or has other layers or classes than the first one.
    """
    first = read_checkpoint(checkpoints[0])
    hyper_parameters, state = first["hyper_parameters"], first["state_dict"]
    sums = {name: value.double() for name, value in state.items() if value.is_floating_point()}
    for path in checkpoints[1:]:
        other = read_checkpoint(path)
        for part in ("model", "classes"):
            ours, theirs = (_comparable(one["hyper_parameters"][part]) for one in (first, other))
            _require_equal(ours, theirs, part, checkpoints[0], path)
        _require_equal(_shapes(state), _shapes(other["state_dict"]), "weights", checkpoints[0], path)
        for name, total in sums.items():
            total += other["state_dict"][name].double()
    means = {name: (total / len(checkpoints)).to(state[name].dtype) for name, total in sums.items()}
    return {**hyper_parameters, "classes": _comparable(hyper_parameters["classes"])}, {**state, **means}


def _comparable(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of the hyperparameters without the thresholds of a model: they belong to its weights."""
    return {name: value for name, value in part.items() if name != "thresholds"}


def _choose_thresholds(path: Path, config: AverageConfig) -> None:
    """Choose the threshold of each class on val, and store them in the checkpoint.

    Raises:
        SegnetError: the dataset has no val split that can be evaluated.
    """
    found = evaluate(path, dataset=config.dataset, split="val", data=config.data, trainer=config.trainer)
    stored = read_checkpoint(path)
    stored["hyper_parameters"]["classes"]["thresholds"] = list(found.best_thresholds)
    save_checkpoint({key: stored[key] for key in ("state_dict", "hyper_parameters")}, path)
    pairs = zip(found.classes.names, found.best_thresholds, strict=True)
    log.info("thresholds chosen on val: %s", ", ".join(f"{printable(name)} {value:.3f}" for name, value in pairs))


def _shapes(state: Mapping[str, Tensor]) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in state.items()}


def _require_equal(ours: Mapping[str, Any], theirs: Mapping[str, Any], part: str, first: Path, path: Path) -> None:
    """Raises:
    CheckpointError: an entry differs.
    """
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise CheckpointError(
                f"{path}: {part}.{name} differs from that of {first}: only checkpoints of one model can be averaged; "
                "an ensemble takes different ones: --checkpoint A B"
            )


def reestimate_norms(task: SegmentationTask, batches: Iterable[Tensor]) -> int:
    """Estimate the running statistics of a model's batch norms as the mean over batches; weights do not change.

    Batch norms that did not learn in training, because they were frozen, keep their statistics. All other layers are in
    eval mode: without dropout and drop path.

    Args:
        task: task on the device to compute on.
        batches: uint8 or float32 images (N, C, H, W), 0-255.

    Returns:
        The number of images; 0 if no batch norm is to be estimated.
    """
    task.train()
    norms = [layer for layer in task.model.modules() if isinstance(layer, _BatchNorm) and layer.training]
    task.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    num_images = 0
    with torch.inference_mode():
        for images in batches if norms else ():
            task.model(images.to(task.device))
            num_images += len(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    task.eval()
    return num_images


def _train_data(config: AverageConfig, checkpoint: Path, task: SegmentationTask) -> SegmentationDataModule:
    """Return the train images with the crops and the augmentation of the first checkpoint's run, if it is stored."""
    stored = stored_config(checkpoint.parent).get("data", {})
    names = {field.name for field in fields(DataConfig)}
    data = DataConfig(**{name: value for name, value in stored.items() if name in names})
    data = replace(data, **asdict(config.data), oversample_rare=0.0, cache=None)
    datamodule = SegmentationDataModule(config.dataset, data, task.hparams["model"]["mean"], 0, task.classes)
    samples = datamodule.split("train")
    require_same_classes(task.classes, samples.classes, checkpoint)
    samples.take_value_range(task.model.value_range, checkpoint)
    crop = data.crop_size or fitting_crop(datamodule.sizes("train"), LARGEST_CROP_OF_GPU)
    datamodule.use(replace(data, crop_size=crop, batch_size=min(len(samples), known(data.batch_size or BATCH_SIZE))))
    return datamodule


def _crop_batches(datamodule: SegmentationDataModule, num_images: int) -> Iterator[Tensor]:
    """Yield batches of augmented train images, at most one epoch and about `num_images` of them."""
    loader = datamodule.train_dataloader()
    size = loader.batch_size or 1
    for batch in itertools.islice(loader, max(1, -(-num_images // size))):
        yield batch["image"]


def _scores(checkpoint: Path, config: AverageConfig) -> Results:
    return evaluate(checkpoint, dataset=config.dataset, split=config.split, data=config.data, trainer=config.trainer)
