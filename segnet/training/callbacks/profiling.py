"""Profile training steps early in a run: a table of time per part of a step, and a trace for Chrome.

Lightning's `trainer.profiler=pytorch` prints one table of all hooks and operators, and writes no trace here. It also
does not synchronize with the GPU, so the time of one part is counted in the next. This profiler synchronizes after
each part. Work that overlaps in an ordinary run is therefore added up.
"""

import logging
import os
from pathlib import Path

import torch
from pytorch_lightning.profilers import Profiler
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from segnet.system.files import replacing
from segnet.training.distributed import is_rank_zero
from segnet.training.epoch_loop import StepAlignedEpochLoop

log = logging.getLogger(__name__)

WAIT, WARM_UP, ACTIVE = 2, 2, 6  # the first steps allocate memory and choose algorithms
TRACE, TABLE = "profile.json", "profile.txt"
NUM_OPERATORS = 25
# Lightning's hooks that do not overlap within a step -> parts of the table.
STEP_PARTS = {
    "train_dataloader_next": "wait for the batch",
    "batch_to_device": "batch to the device",
    "training_step": "forward and loss",
    "backward": "backward",
}
OWNERS = ("[Strategy]", f"[{StepAlignedEpochLoop.__name__}]")
STEP, REST = "step", "optimizer, logs and checkpoints"


class StepProfiler(Profiler):
    """Lightning profiler that writes profile.txt and profile.json of rank zero into the run folder.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._profile: profile | None = None
        self._open: dict[str, record_function] = {}
        self._written = False

    def start(self, action_name: str) -> None:
        owner, _, hook = action_name.rpartition(".")
        if owner.startswith("[LightningModule]"):
            if hook == "on_train_start" and is_rank_zero():
                self._begin()
            elif hook == "on_validation_start":
                self._end()  # a short epoch: a validation is no part of a training step
        elif self._profile and hook in STEP_PARTS and owner.startswith(OWNERS):
            _wait_for_gpu()
            self._open[action_name] = record_function(STEP_PARTS[hook])
            self._open[action_name].__enter__()

    def stop(self, action_name: str) -> None:
        if part := self._open.pop(action_name, None):
            _wait_for_gpu()
            part.__exit__(None, None, None)
        elif self._profile and action_name.startswith("[LightningModule]") and action_name.endswith("train_batch_end"):
            _wait_for_gpu()
            self._profile.step()  # writes after the last step
            if self._written:
                self._end()

    def teardown(self, stage: str | None) -> None:
        self._end()
        super().teardown(stage)

    def _begin(self) -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # otherwise torch's profiler prints lines of its own
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_initialized() else [])],
            schedule=schedule(wait=WAIT, warmup=WARM_UP, active=ACTIVE, repeat=1),
            on_trace_ready=self._write,
        )
        self._profile.start()

    def _end(self) -> None:
        if self._profile is None:
            return
        running, self._profile = self._profile, None
        running.stop()  # writes if it recorded fewer steps than planned
        if not self._written:
            log.warning(
                "profile=true wrote nothing: the first %d steps are not measured, and a validation or the end of "
                "training followed: profile a longer run",
                WAIT + WARM_UP,
            )

    def _write(self, recorded: profile) -> None:
        averages = recorded.key_averages()
        # On a GPU each part has a second entry with the GPU's own time.
        events = {event.key: event for event in averages if event.device_type == DeviceType.CPU}
        if STEP_PARTS["training_step"] not in events:
            return
        steps = events[STEP_PARTS["training_step"]].count
        seconds = {part: events[part].cpu_time_total / 1e6 if part in events else 0.0 for part in STEP_PARTS.values()}
        parts = table(seconds, events["ProfilerStep*"].cpu_time_total / 1e6, steps)
        with replacing(self._folder / TRACE) as temporary:
            recorded.export_chrome_trace(str(temporary))
        order = "self_device_time_total" if ProfilerActivity.CUDA in recorded.activities else "self_cpu_time_total"
        operators = averages.table(sort_by=order, row_limit=NUM_OPERATORS, max_name_column_width=60)
        with replacing(self._folder / TABLE) as temporary:
            temporary.write_text(f"{parts}\n\n{operators}\n", encoding="utf-8")
        self._written = True
        log.info("profile of %d steps: %s\n%s", steps, self._folder / TABLE, parts)


def _wait_for_gpu() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def table(seconds: dict[str, float], total: float, steps: int) -> str:
    """Format a table of the parts of a step with their times and fractions.

    Args:
        seconds: part -> time summed over all steps [s].
        total: time of all steps [s].
        steps: number of steps.
    """
    rows = {**seconds, REST: max(total - sum(seconds.values()), 0.0), STEP: total}
    lines = [f"{'part of a step':32s}{'ms':>10s}{'share':>9s}"]
    lines += [f"{name:32s}{1000 * value / steps:10.1f}{value / total:9.1%}" for name, value in rows.items()]
    return "\n".join(lines)
