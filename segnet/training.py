"""The wiring of data, task and Trainer, without Hydra: `train` a configuration, `evaluate` a checkpoint."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
import yaml

from segnet.bands import displayable
from segnet.batches import describe, scale_lr
from segnet.checkpoint import read_checkpoint
from segnet.classes import Classes
from segnet.config import Config, DataConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.dataset import SegmentationDataset
from segnet.errors import CheckpointError, DataError
from segnet.images import replacing, write_picture
from segnet.metrics import Scores
from segnet.optim import check_optim
from segnet.predictor import Predictor
from segnet.recipe import recipe_callbacks
from segnet.task import SegmentationTask
from segnet.trainer import best_checkpoint, evaluation_trainer, training_trainer
from segnet.visualization import comparison, plot_curves
from segnet.weights import load_backbone_weights, read_weights, resolve_normalisation

log = logging.getLogger(__name__)

NUM_PREVIEWS = 6


@dataclass(frozen=True, slots=True)
class Results:
    """What an evaluation found.

    Attributes:
        checkpoint: the file that was evaluated.
        split: on which images.
        num_images: how many.
        scores: the figures.
        classes: to which they belong.
    """

    checkpoint: Path
    split: str
    num_images: int
    scores: Scores
    classes: Classes

    def write(self, path: Path, **more: Any) -> None:
        """Writes everything as JSON; `more` is added at the top level."""
        record = {
            "checkpoint": str(self.checkpoint),
            "split": self.split,
            "num_images": self.num_images,
            **self.scores.to_dict(self.classes),
            **more,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def train(config: Config, output_dir: Path) -> Results | None:
    """Trains a configuration and evaluates the best checkpoint on the val split.

    Of several processes the first evaluates and returns the results, the others return None.

    Writes into `output_dir`: config.yaml, best.ckpt, last.ckpt, metrics.csv, curves.png, preview.png and results.json.

    Raises:
        SegnetError: an option, a file or the machine does not allow it.
    """
    start = time.monotonic()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    weights = read_weights(config.backbone_weights) if config.backbone_weights else None
    channels = config.backbone.get("in_channels", 3)
    channels = channels if isinstance(channels, int) and channels >= 1 else 3  # else the backbone will refuse it
    mean, std = resolve_normalisation(config.mean, config.std, weights, channels)
    trainer = training_trainer(config.trainer, output_dir, recipe_callbacks(config))
    num_images = config.data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
    check_optim(config.optim)
    config = replace(config, mean=mean, std=std, optim=scale_lr(config.optim, num_images))  # stored as it was decided
    datamodule = SegmentationDataModule(config.dataset, config.data, mean, config.seed)
    task = SegmentationTask.create(
        model={"backbone": config.backbone, "decoder": config.decoder, "mean": mean, "std": std},
        classes=datamodule.classes,
        loss=config.loss,
        optim=config.optim,
        frozen_stages=config.frozen_stages,
        norm_eval=config.norm_eval,
        auxiliary_head=config.auxiliary_head,
    )
    task.model.check_training_batch(config.data.batch_size, *config.data.crop_size)
    task.model.zero_unreached_taps(*config.data.crop_size)
    if weights is not None:
        load_backbone_weights(task.model.backbone, weights)
        del weights  # as large as the backbone
    datamodule.check(trainer.world_size)
    if trainer.is_global_zero:
        log.info("run folder: %s", output_dir)
        log.info(describe(config.optim, config.data.batch_size, trainer.world_size, trainer.accumulate_grad_batches))
        with replacing(output_dir / "config.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(asdict(config), sort_keys=False), encoding="utf-8")
    trainer.fit(task, datamodule=datamodule)
    if not trainer.is_global_zero:
        return None
    if torch.distributed.is_initialized():  # or the counts would be summed over processes that take no part
        torch.distributed.destroy_process_group()
    best = best_checkpoint(trainer, output_dir)
    results = evaluate(
        best, dataset=config.dataset, split="val", data=config.data, trainer=device_options(config.trainer)
    )
    results.write(
        output_dir / "results.json",
        epochs=trainer.current_epoch,
        steps=trainer.global_step,
        parameters=sum(p.numel() for p in task.model.parameters()),
        seconds=round(time.monotonic() - start, 1),
        config=asdict(config),
    )
    if (output_dir / "metrics.csv").exists():  # a run of a few steps may have logged nothing
        plot_curves(output_dir / "metrics.csv", output_dir / "curves.png")
    write_preview(best, datamodule.split("val"), output_dir / "preview.png")
    return results


def evaluate(
    checkpoint: Path, *, dataset: Mapping[str, Any], split: str, data: DataConfig, trainer: Mapping[str, Any]
) -> Results:
    """Measures a checkpoint on a split, one whole image at a time.

    Args:
        checkpoint: path of a segnet checkpoint.
        dataset: spec from `segnet.data.DATASETS`.
        split: "train", "val" or "test".
        data: only the workers count.
        trainer: arguments of Lightning's Trainer.

    Raises:
        SegnetError: the checkpoint, the data or an option does not allow it, or the dataset has other classes.
    """
    stored = read_checkpoint(checkpoint)
    hyper_parameters = stored["hyper_parameters"]
    datamodule = SegmentationDataModule(dataset, data, hyper_parameters["model"]["mean"], seed=0)
    try:
        task = SegmentationTask(**hyper_parameters)
        task.load_state_dict(stored["state_dict"])
    except (RuntimeError, TypeError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{checkpoint}: weights and description do not fit ({reason})") from None
    samples = datamodule.split(split)
    require_same_classes(task.classes, samples.classes, checkpoint)
    runner = evaluation_trainer(trainer)
    runner.validate(task, dataloaders=datamodule.evaluation_dataloader(split), verbose=False)
    assert task.scores is not None
    return Results(Path(checkpoint), split, len(samples), task.scores, task.classes)


def require_same_classes(trained: Classes, present: Classes, checkpoint: Path) -> None:
    """Refuses a dataset whose classes are not those that the checkpoint was trained on: the figure would mean nothing.

    Raises:
        DataError: naming the first class that differs.
    """
    if len(trained.names) != len(present.names):
        raise DataError(
            f"the dataset has {len(present.names)} classes, but {checkpoint} was trained on {len(trained.names)}: "
            f"{', '.join(trained.names)}"
        )
    for index, (theirs, ours) in enumerate(zip(trained.names, present.names, strict=True)):
        if theirs != ours:
            raise DataError(f"class {index} of the dataset is '{ours}', but {checkpoint} was trained on '{theirs}'")


def device_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Of a training's Trainer options, those that say where it runs: evaluation takes no others, nor low precision."""
    return {"devices": 1, **({"accelerator": options["accelerator"]} if "accelerator" in options else {})}


def write_preview(checkpoint: Path, samples: SegmentationDataset, target: Path) -> None:
    """Writes a sheet of images, truths and predictions, spread over the split."""
    predictor = Predictor(checkpoint)
    count = min(NUM_PREVIEWS, len(samples))
    chosen = [samples.load(index * len(samples) // count) for index in range(count)]
    rows = [(displayable(sample.image), sample.mask, predictor(sample.image)) for sample in chosen]
    write_picture(target, comparison(rows, predictor.classes))
