"""The measuring of a checkpoint on a split of a dataset, without Hydra."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from segnet.classes import Classes
from segnet.config import DataConfig, LoaderConfig
from segnet.data.datamodule import SegmentationDataModule
from segnet.errors import DataError
from segnet.inference.tta import Inference
from segnet.models.checkpoint import fitting, read_checkpoint
from segnet.system.files import replacing
from segnet.system.machine import explained
from segnet.system.signals import ending_at_once
from segnet.training.distributed import require_one_process
from segnet.training.metrics import Scores
from segnet.training.task import SegmentationTask
from segnet.training.trainer import evaluation_trainer

LOWER_EVALUATION = "the size of the images, or set window=1024 (segnet evaluate) or trainer.accelerator=cpu"


@dataclass(frozen=True, slots=True)
class Results:
    """What an evaluation found.

    Attributes:
        checkpoint: the file that was evaluated.
        split: on which images.
        inference: how they were predicted.
        num_images: how many.
        scores: the figures.
        classes: to which they belong.
        confusion: counts of pixels, a row for each true class, a column for each predicted one.
        image_miou: of each image, over the classes that occur in it or its prediction; NaN without a labeled pixel.
    """

    checkpoint: Path
    split: str
    inference: Inference
    num_images: int
    scores: Scores
    classes: Classes
    confusion: list[list[int]]
    image_miou: list[float]

    def write(self, path: Path, **more: Any) -> None:
        """Writes everything as JSON; `more` is added at the top level."""
        record = {
            "checkpoint": str(self.checkpoint),
            "split": self.split,
            "flip": self.inference.flip,
            "scales": list(self.inference.scales),
            "window": self.inference.window,
            "overlap": self.inference.overlap if self.inference.window else None,
            "num_images": self.num_images,
            **self.scores.to_dict(self.classes),
            **more,
        }
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def evaluate(
    checkpoint: Path,
    *,
    dataset: Mapping[str, Any],
    split: str,
    data: LoaderConfig,
    trainer: Mapping[str, Any],
    inference: Inference | None = None,
) -> Results:
    """Measures a checkpoint on a split, one whole image at a time.

    Args:
        checkpoint: path of a segnet checkpoint.
        dataset: spec from `segnet.data.DATASETS`.
        split: "train", "val" or "test".
        data: how images are loaded.
        trainer: arguments of Lightning's Trainer; one device unless they say otherwise, which is refused.
        inference: flips, scales and windows; None: the model's own prediction of each image alone.

    Raises:
        SegnetError: the checkpoint, the data or an option does not allow it, or the dataset has other classes.
    """
    stored = read_checkpoint(checkpoint)
    hyper_parameters = stored["hyper_parameters"]
    loading = DataConfig(num_workers=data.num_workers, timeout=data.timeout)
    with fitting(checkpoint):
        task = SegmentationTask(**hyper_parameters)
        task.load_state_dict(stored["state_dict"])
    datamodule = SegmentationDataModule(
        dataset, loading, hyper_parameters["model"]["mean"], seed=0, classes=task.classes
    )
    inference = inference or Inference()
    task.inference = inference
    samples = datamodule.split(split)
    require_same_classes(task.classes, samples.classes, checkpoint)
    samples.take_value_range(task.model.value_range, checkpoint)
    by_image = ImageScores()
    runner = evaluation_trainer(trainer, [by_image])
    require_one_process(runner)
    with explained("one whole image", LOWER_EVALUATION), ending_at_once("during the evaluation"):
        runner.validate(task, dataloaders=datamodule.evaluation_dataloader(split), verbose=False)
    assert task.scores is not None
    confusion = task.confusion.compute().tolist()
    return Results(
        Path(checkpoint), split, inference, len(samples), task.scores, task.classes, confusion, by_image.miou
    )


class ImageScores(Callback):
    """The mIoU of each image, from what it adds to the confusion matrix.

    Attributes:
        miou: one an image, in their order.
    """

    def __init__(self) -> None:
        self.miou: list[float] = []
        self._before: Tensor | None = None

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SegmentationTask)
        self._before = pl_module.confusion.matrix.clone()

    def on_validation_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SegmentationTask)
        assert self._before is not None
        self.miou.append(Scores.from_matrix(pl_module.confusion.matrix - self._before).miou)


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
