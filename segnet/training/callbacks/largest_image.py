"""Memory check: predict the largest val image before the first step, not only in the first validation."""

import math

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from segnet.data.datamodule import SegmentationDataModule
from segnet.data.samples import to_tensors
from segnet.errors import MachineError
from segnet.system.machine import is_out_of_memory
from segnet.training.task import SegmentationTask


class TryLargestImage(Callback):
    """Predict the largest val image once, as a validation does, and discard the result.

    Image sizes come from the dataset scan (`data.check`). Without it the check is skipped.
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it
        assert isinstance(pl_module, SegmentationTask)
        assert isinstance(data, SegmentationDataModule)
        if trainer.limit_val_batches == 0 or not data.knows_sizes("val"):
            return
        sizes = [finding.size for finding in data.report("val").findings]
        index = max(range(len(sizes)), key=lambda place: math.prod(sizes[place]))
        sample = to_tensors(data.split("val").load(index))
        height, width = sizes[index]
        pl_module.eval()
        out_of_memory = False
        try:
            with torch.no_grad():
                image, mask = (sample[key][None].to(pl_module.device) for key in ("image", "mask"))
                pl_module.measure(image, mask)
        except (MemoryError, RuntimeError) as error:
            out_of_memory = is_out_of_memory(error)
            if not out_of_memory:
                raise
        finally:
            pl_module.train()
            pl_module.confusion.reset()
        if out_of_memory:
            window = (pl_module.inference.for_size((height, width)).window or max(height, width)) // 2
            raise MachineError(
                f"out of memory with the largest val image, {sample['name']} ({width} x {height}): set "
                f"validation.window={window}, or trainer.limit_val_batches=0"
            )
