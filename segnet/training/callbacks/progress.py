"""Training progress: throughput, memory and time left, as a progress bar or a progress log."""

import logging
import math
import os
import sys
import time
from collections import deque
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar
from pytorch_lightning.callbacks.progress.rich_progress import RichProgressBarTheme

from segnet.system.files import GIB
from segnet.training.callbacks.budget_clock import budget_clock
from segnet.training.metrics import MONITOR, percent

log = logging.getLogger(__name__)

ESTIMATED_AFTER, SHORT = 20, 60.0  # steps before the time is estimated; shorter runs log no estimate [s]
LINE_EVERY = 60.0  # time between two lines of a progress log [s]
RECENT = 50  # the most recent batches, over which throughput is averaged


class Throughput(Callback):
    """Measures throughput without validations, and the time left with them."""

    def __init__(self) -> None:
        self._start = self._since = 0.0
        self._first_step = 0
        self._estimated = False
        self._batches: deque[tuple[int, float]] = deque(maxlen=RECENT)  # images, seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = self._since = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._since = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        self._batches.append((len(batch["image"]) * trainer.world_size, now - self._since))
        self._since = now
        if trainer.global_step >= self._first_step + ESTIMATED_AFTER and not self._estimated:
            self._estimated = True
            left = self.seconds_left(trainer)
            if left >= SHORT and trainer.is_global_zero:
                log.info("estimated time: %s more at %.1f images/s", duration(left), self.images_per_second)

    @property
    def images_per_second(self) -> float:
        """Throughput of all processes over the last batches [images/s]; NaN before the first."""
        seconds = sum(seconds for _, seconds in self._batches)
        return sum(images for images, _ in self._batches) / seconds if seconds else math.nan

    def seconds_left(self, trainer: pl.Trainer) -> float:
        """Estimate the time until the last step, validations included [s]; NaN before the first step."""
        done, total = trainer.global_step, trainer.estimated_stepping_batches
        if clock := budget_clock(trainer):
            return max(0.0, clock.left)
        if done == self._first_step:
            return math.nan
        return (time.monotonic() - self._start) / (done - self._first_step) * (total - done)

    def figures(self, trainer: pl.Trainer) -> dict[str, str]:
        """Return throughput, memory and time left as text."""
        memory, speed = memory_used(trainer.strategy.root_device), self.images_per_second
        return {
            "images/s": f"{speed:.{1 if speed < 100 else 0}f}" if math.isfinite(speed) else "?",
            **({"memory": f"{memory / GIB:.1f} GiB"} if memory else {}),
            "left": duration(self.seconds_left(trainer)),
        }


def memory_used(device: torch.device) -> int:
    """Return this process's peak memory of the GPU, or of the machine on a CPU [bytes]; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss; "?" if unknown."""
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


class ProgressLog(Callback):
    """Progress log: a line per validation and at least per minute, for output that is not a terminal."""

    def __init__(self, throughput: Throughput) -> None:
        self._throughput = throughput
        self._printed = math.inf

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._printed = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if time.monotonic() - self._printed >= LINE_EVERY and trainer.is_global_zero:
            self._print(trainer, "")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit" or not trainer.is_global_zero:
            return
        self._print(trainer, f"val mIoU {percent(float(trainer.callback_metrics.get(MONITOR, math.nan)))}")

    def _print(self, trainer: pl.Trainer, miou: str) -> None:
        self._printed = time.monotonic()
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        done, total = trainer.global_step, trainer.estimated_stepping_batches
        if math.isinf(total):
            place = f"step {done:6d}"
        elif trainer.max_epochs and trainer.max_epochs > 0:
            place = f"epoch {trainer.current_epoch + 1:3d}/{trainer.max_epochs}"
        else:
            place = f"step {done:{len(str(total))}d}/{total}"
        figures = self._throughput.figures(trainer)
        parts = [  # a resumed run may validate before its first step: values that are not known yet are left out
            place,
            f"loss {metrics['train/loss']:.4f}" if "train/loss" in metrics else "",
            f"lr {metrics['lr']:.5f}" if "lr" in metrics else "",
            miou,
            f"{figures['images/s']} images/s" if figures["images/s"] != "?" else "",
            figures.get("memory", ""),
            f"{figures['left']} left" if figures["left"] != "?" else "",
        ]
        print("  ".join(filter(None, parts)), flush=True)


class ThroughputBar(RichProgressBar):
    """Lightning's progress bar with loss, learning rate, mIoU, throughput, memory and time left."""

    def __init__(self, throughput: Throughput) -> None:
        super().__init__(leave=False, theme=RichProgressBarTheme(metrics_format=".4g"))  # learning rates are small
        self._throughput = throughput

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        numbers = {name: float(value) if isinstance(value, torch.Tensor) else value for name, value in items.items()}
        miou = numbers.get(MONITOR)
        if isinstance(miou, float):
            numbers[MONITOR] = percent(miou)
        return {**numbers, **self._throughput.figures(trainer)}

    def _get_train_description(self, current_epoch: int) -> str:
        if self.trainer.max_epochs == -1:  # Lightning would count towards epoch -2
            limit = "" if self.trainer.max_steps == -1 else f", up to step {self.trainer.max_steps}"
            return f"Epoch {current_epoch}{limit}"
        return super()._get_train_description(current_epoch)


def progress_callbacks() -> list[Callback]:
    """Return a progress bar for a terminal; otherwise a progress log."""
    throughput = Throughput()
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return [throughput, ThroughputBar(throughput)]
    return [throughput, ProgressLog(throughput)]
