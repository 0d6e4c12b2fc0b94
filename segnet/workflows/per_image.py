"""per_image.json: the pixel counts of each class in each image of an evaluation, which `segnet compare` reads."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback
from torch import Tensor

from segnet.data.datasets.json_records import Record, as_integer, read_record
from segnet.errors import DataError
from segnet.system.files import replacing
from segnet.training.metrics import number
from segnet.training.task import SegmentationTask

PER_IMAGE = "per_image.json"
COUNTS = ("correct", "truth", "predicted")  # pixels of a class, in the order of `ImageCounts.counts`


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The pixel counts of each class in each image of a split.

    They are the diagonal, the row sums and the column sums of each image's confusion matrix. IoU, Dice, accuracy and
    precision of any set of images follow from their sums.

    Attributes:
        source: the file, or the checkpoint that was evaluated (of an ensemble the first), for messages.
        split: the evaluated split.
        classes: class names.
        names: paths or numbers of the images, in the order of the split.
        counts: int64 (images, 3, classes): correct, true and predicted pixels, without ignored ones.
    """

    source: Path
    split: str
    classes: Sequence[str]
    names: Sequence[str]
    counts: NDArray[np.int64]

    def write(self, path: Path, miou: Sequence[float], **facts: Any) -> None:
        """Write them as JSON, an image per line.

        Args:
            path: the file.
            miou: mIoU of each image; NaN is written as null.
            facts: further entries at the top level.
        """
        head = {"split": self.split, **facts, "classes": list(self.classes)}
        images = (
            {"name": name, "miou": number(score)} | dict(zip(COUNTS, rows.tolist(), strict=True))
            for name, score, rows in zip(self.names, miou, self.counts, strict=True)
        )
        lines = ",\n".join(json.dumps(image, allow_nan=False) for image in images)
        with replacing(path) as temporary:
            temporary.write_text(f'{json.dumps(head)[:-1]}, "images": [\n{lines}\n]}}\n', encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "ImageCounts":
        """Read a file that `write` wrote.

        Raises:
            DataError: the file is missing, damaged, or from something else.
        """
        record = read_record(path)
        classes = record.items("classes")
        if not classes or not all(isinstance(name, str) for name in classes):
            raise record.error("classes", "the class names")
        names, counts = [], []
        for image in record.records("images"):
            names.append(image.text("name"))
            counts.append([_pixels(image, key, len(classes)) for key in COUNTS])
        if not names:
            raise DataError(f"{path}: no images: evaluate a split with images")
        return cls(path, record.text("split"), classes, names, np.array(counts, np.int64))


def _pixels(image: Record, key: str, num_classes: int) -> list[int]:
    values = [as_integer(value) for value in image.items(key)]
    pixels = [value for value in values if value is not None and 0 <= value < 2**53]
    if len(pixels) != num_classes or len(values) != num_classes:
        raise image.error(key, f"a list of {num_classes} pixel counts, one per class")
    return pixels


class CountImages(Callback):
    """Counts the pixels of each class in each image: what the image adds to the confusion matrix.

    Attributes:
        names: one per image, in the order of the images.
        miou: mIoU of each image; NaN without a labeled pixel.
        counts: one array (3, classes) per image, see `ImageCounts.counts`.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.miou: list[float] = []
        self.counts: list[NDArray[np.int64]] = []
        self._before: Tensor | None = None

    def on_validation_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, SegmentationTask)
        self._before = pl_module.confusion.matrix.clone()

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        assert isinstance(pl_module, SegmentationTask)
        assert self._before is not None
        added = (pl_module.confusion.matrix - self._before).cpu()
        self.names.append(batch["name"][0])
        self.miou.append(pl_module.confusion.scores(added).miou)
        self.counts.append(pl_module.confusion.by_class(added).numpy())
