"""Where a training step's time goes, measured over a few steps early in the run: a table, and a trace for Chrome.

torch's profiler records the operators, Lightning's profiling hooks tell the parts of a step. On a GPU these wait for
each other while they are measured, or the time of one would be counted in the next: what overlaps otherwise adds up.
"""

import logging
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.profilers import Profiler
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from segnet.system.files import replacing

log = logging.getLogger(__name__)

WAIT, WARM_UP, STEPS = 2, 2, 6  # the first steps allocate memory and choose algorithms
TRACE, TABLE = "profile.json", "profile.txt"
NUM_OPERATORS = 25
# Ends of Lightning's names of what does not overlap in a step -> ours.
PARTS = {
    ".train_dataloader_next": "wait for the batch",
    ".batch_to_device": "batch to the device",
    ".training_step": "forward and loss",
    ".backward": "backward",
}
STEP, REST = "step", "optimizer, logs and checkpoints"


class PartsOfStep(Profiler):
    """Times the parts of a step, while it is switched on, and names them in torch's trace.

    Attributes:
        recording: whether it is on.
        seconds: of each part, summed up.
    """

    def __init__(self) -> None:
        super().__init__()
        self.recording = False
        self.seconds: dict[str, float] = defaultdict(float)
        self._begun: dict[str, tuple[float, record_function]] = {}

    def start(self, action_name: str) -> None:
        part = _part(action_name)
        if self.recording and part:
            mark = record_function(part)
            mark.__enter__()
            self._begun[action_name] = (now(), mark)

    def stop(self, action_name: str) -> None:
        if action_name in self._begun:
            begun, mark = self._begun.pop(action_name)
            self.seconds[_part(action_name)] += now() - begun
            mark.__exit__(None, None, None)


def _part(action: str) -> str:
    """ "" for what is none, such as the hooks of callbacks."""
    if action.startswith(("[Strategy]", "[_TrainingEpochLoop]")):
        return PARTS.get(action[action.rfind(".") :], "")
    return ""


def now() -> float:
    """A time when all that was asked of the GPU is done [s]."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


class StepProfile(Callback):
    """Writes profile.txt and profile.json of the first process into the run folder.

    Args:
        folder: of the run.
        parts: the Trainer's profiler.
    """

    def __init__(self, folder: Path, parts: PartsOfStep) -> None:
        self._folder = folder
        self._parts = parts
        self._profile: profile | None = None
        self._steps = 0  # that were seen
        self._begun = self._ended = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or torch's profiler writes lines of its own
        on_gpu = trainer.strategy.root_device.type == "cuda"
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
            schedule=schedule(wait=WAIT, warmup=WARM_UP, active=STEPS, repeat=1),
            on_trace_ready=self._write,
        )
        self._profile.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if self._profile is None:
            return
        self._steps += 1
        self._ended = now()
        if self._steps == WAIT + WARM_UP:
            self._parts.recording, self._begun = True, self._ended
        self._profile.step()  # writes, behind the last
        if self._steps == WAIT + WARM_UP + STEPS:
            self._stop()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._stop()  # a short epoch: what belongs to no training step is not measured

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._profile is None:
            return
        running, self._profile = self._profile, None
        self._parts.recording = False
        running.stop()  # writes what was recorded of fewer steps
        if self._steps <= WAIT + WARM_UP:
            log.warning(
                "profile=true: the first %d steps are not measured, and a validation or the end came after %d",
                WAIT + WARM_UP,
                self._steps,
            )

    def _write(self, recorded: profile) -> None:
        measured = self._steps - WAIT - WARM_UP
        if measured < 1:
            return
        with replacing(self._folder / TRACE) as temporary:
            recorded.export_chrome_trace(str(temporary))
        order = "self_device_time_total" if ProfilerActivity.CUDA in recorded.activities else "self_cpu_time_total"
        operators = recorded.key_averages().table(sort_by=order, row_limit=NUM_OPERATORS, max_name_column_width=60)
        parts = table({part: self._parts.seconds[part] for part in PARTS.values()}, self._ended - self._begun, measured)
        with replacing(self._folder / TABLE) as temporary:
            temporary.write_text(f"{parts}\n\n{operators}\n", encoding="utf-8")
        log.info("profile of %d steps: %s\n%s", measured, self._folder / TABLE, parts)


def table(seconds: dict[str, float], total: float, steps: int) -> str:
    """The parts of a step with their shares, as text.

    Args:
        seconds: of each part, summed over the steps.
        total: of all steps [s].
        steps: how many.
    """
    rows = {**seconds, REST: max(total - sum(seconds.values()), 0.0), STEP: total}
    lines = [f"{'part of a step':32s}{'ms':>10s}{'share':>9s}"]
    lines += [f"{name:32s}{1000 * value / steps:10.1f}{value / total:9.1%}" for name, value in rows.items()]
    return "\n".join(lines)
