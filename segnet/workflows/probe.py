"""Probe for a time budget: measure a few training steps and predictions on random images, and loading a few images."""

import copy
import io
import math
import statistics
from collections.abc import Callable
from dataclasses import replace

import torch

from segnet.config import Config, known
from segnet.data.datamodule import SegmentationDataModule
from segnet.data.semi_supervised import NUM_STRONG
from segnet.errors import DataError
from segnet.losses.class_weight import without_class_weights
from segnet.system.machine import is_out_of_memory, num_cores
from segnet.system.memory import free_memory
from segnet.training.budget import LARGEST_BATCH, SMALLEST_BATCH, Speed
from segnet.training.callbacks.progress import memory_used
from segnet.training.consistency import consistency_of
from segnet.training.optim import build_optimizer, complete_optim, parameter_groups
from segnet.training.plan import Facts
from segnet.training.task import SegmentationTask
from segnet.training.teacher import Distillation

FIRST_BATCH = 2  # first batch size
NUM_PREDICTIONS = 3  # timed predictions
NUM_STEPS = 2  # timed steps per batch size
PROBE_FRACTION = 0.04  # fraction of the remaining time after which no larger batch is tried
MEMORY_FRACTION = 0.6  # largest fraction of the free memory for a batch, on a CPU
SAVES = 8  # weights written per validation: two checkpoints of weights, EMA weights and optimizer state
NUM_LOADED = 6  # timed train images; the first of them is not timed
VALIDATING = 1.3  # duration of a validation whose images are loaded in time, relative to its predictions


def probe(
    config: Config,
    datamodule: SegmentationDataModule,
    facts: Facts,
    device: torch.device,
    left: float,
    now: Callable[[], float],
    distillation: Distillation | None = None,
) -> Speed:
    """Measure the speed of training steps, predictions and loading, without changing the random state.

    Args:
        config: configuration with crop and batch sizes.
        facts: facts with the number of val images and the image sizes.
        left: remaining time of the budget [s].
        now: clock, returns a time [s].
        distillation: teacher of the run, which costs time and memory too.

    Raises:
        ConfigError: crops too small to train on.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        task = _untrained_task(config, datamodule, device, distillation)
        trial = Trial(task, known(config.data.crop_size), config.precision, now)
        rate, largest = _largest_batch(trial, known(config.data.batch_size), left)
        size = max(facts.sizes, key=lambda found: facts.sizes[found], default=tuple(known(config.data.crop_size)))
        prediction, saving = trial.prediction((size[0], size[1])), trial.saving()
    speed = Speed(
        pixels_per_second=rate,
        largest_batch=largest,
        validation=0.0,
        loading=loading_time(config, datamodule, now),
        num_workers=datamodule.num_workers,
        threads=torch.get_num_threads() if device.type == "cpu" else 0,
        cores=num_cores(),
    )
    validation = facts.num_val * speed.with_loading(VALIDATING * prediction) + SAVES * saving
    if task.consistency is not None:  # each train image comes with unlabeled ones
        batch_size = known(config.data.batch_size)
        more = 1 + (config.consistency.batch_size or batch_size) / batch_size
        speed = replace(speed, loading=more * speed.loading)
    return replace(speed, validation=validation)


def _untrained_task(
    config: Config, datamodule: SegmentationDataModule, device: torch.device, distillation: Distillation | None
) -> SegmentationTask:
    """Build the task of a run, with random weights and without class weights.

    Raises:
        ConfigError: crops too small to train on.
    """
    channels = datamodule.split("train").channels
    task = SegmentationTask.create(
        model={
            "backbone": config.backbone,
            "decoder": config.decoder,
            "mean": [0.5] * channels,
            "std": [0.5] * channels,
        },
        classes=datamodule.classes,
        loss=without_class_weights(config.loss),
        optim=complete_optim(config.optim),
        frozen_stages=config.frozen_stages,
        norm_eval=config.norm_eval,
        auxiliary_head=config.auxiliary_head,
    ).to(device)
    task.model.check_training_batch(known(config.data.batch_size), *known(config.data.crop_size))
    task.distillation = distillation
    task.consistency = consistency_of(config, datamodule.classes.ignore_index)
    if task.consistency is not None and task.consistency.uses_ema:
        task.consistency.teacher = copy.deepcopy(task.model).eval()
    return task


def loading_time(config: Config, datamodule: SegmentationDataModule, now: Callable[[], float]) -> float:
    """Return the time of one process to load and augment a train image [s].

    Images come from the whole split, because the cost of a file may depend on it. With a cache, a second reading
    counts. 0 if an image cannot be read: the check of all files reports it.
    """
    samples = datamodule.train_samples(config.data)
    count = len(datamodule.split("train"))
    keys = [(0, number * count // NUM_LOADED) for number in range(NUM_LOADED)]
    durations = []
    try:
        for key in [*keys[1:], *keys] if config.data.cache else keys:
            start = now()
            samples[key]
            durations.append(now() - start)
    except DataError:
        return 0.0
    return statistics.mean(durations[-NUM_LOADED + 1 :])


def _largest_batch(trial: "Trial", wanted: int, left: float) -> tuple[float, int]:
    """Return the throughput [pixels/s] and the largest tested batch size that fits into memory."""
    before, free = memory_used(trial.device), free_memory()
    seconds = trial.step(FIRST_BATCH)
    if math.isinf(seconds):
        return trial.area / max(trial.step(1), 1e-9), 1
    rate, largest, spent = FIRST_BATCH * trial.area / max(seconds, 1e-9), FIRST_BATCH, seconds
    per_image = max(0, memory_used(trial.device) - before) / FIRST_BATCH
    batch = SMALLEST_BATCH
    while batch <= max(wanted, LARGEST_BATCH):
        too_large = trial.device.type != "cuda" and free and batch * per_image > MEMORY_FRACTION * free
        expected = (NUM_STEPS + 1) * batch * trial.area / rate
        if too_large:
            break
        if spent + expected > PROBE_FRACTION * left:  # no time to try: trust the estimate of the memory
            largest = max(largest, wanted if trial.device.type == "cpu" else largest)
            break
        seconds = trial.step(batch)
        if math.isinf(seconds):
            break
        spent += (NUM_STEPS + 1) * seconds
        rate, largest = batch * trial.area / max(seconds, 1e-9), batch
        batch *= 2
    return rate, largest


class Trial:
    """Training steps and predictions on random images.

    Args:
        task: task on the device to measure.
        crop_size: (height, width) of training images [pixels].
        precision: precision of training.
        now: clock, returns a time [s].
    """

    def __init__(self, task: SegmentationTask, crop_size: list[int], precision: str, now: Callable[[], float]) -> None:
        self._task, self._crop_size, self._now = task, crop_size, now
        self.device = next(task.parameters()).device
        self.area = math.prod(crop_size)
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        if self.device.type == "cpu":
            self._dtype = None
        groups = parameter_groups(task, task.model.backbone, task.optim)
        self._optimizer = build_optimizer(groups, task.optim)

    def step(self, batch_size: int) -> float:
        """Return the mean duration of a training step after a warm-up step [s]; infinity if out of memory."""
        channels, shape = self._task.model.in_channels, self._task.classes.mask_shape(self._crop_size)
        try:
            images = torch.randint(0, 256, (batch_size, channels, *self._crop_size), dtype=torch.uint8).to(self.device)
            mask = torch.randint(0, len(self._task.classes.names), (batch_size, *shape)).to(self.device)
            self._one_step(images, mask)
            start = self._now()
            for _ in range(NUM_STEPS):
                self._one_step(images, mask)
            return (self._now() - start) / NUM_STEPS
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return math.inf

    def _one_step(self, images: torch.Tensor, mask: torch.Tensor) -> None:
        with torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None):
            loss, _ = self._task.losses(images, mask, self._random_views(images))
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._finish()

    def _random_views(self, images: torch.Tensor) -> dict[str, torch.Tensor] | None:
        """Return views of unlabeled images made of `images`; None if the run has none."""
        consistency = self._task.consistency
        if consistency is None:
            return None
        number = consistency.options.batch_size or len(images)
        weak = images[torch.arange(number) % len(images)]
        return {
            "weak": weak,
            "strong": torch.stack([weak] * NUM_STRONG, 1),
            "is_image": torch.ones(number, *images.shape[2:], dtype=torch.bool, device=images.device),
            "boxes": torch.zeros(number, NUM_STRONG, 4, dtype=torch.int64, device=images.device),
        }

    def prediction(self, size: tuple[int, int]) -> float:
        """Return the median duration of predicting an image of (height, width), after a warm-up [s]."""
        images = torch.zeros(1, self._task.model.in_channels, *size, dtype=torch.uint8, device=self.device)
        mask = torch.zeros(self._task.classes.mask_shape(size), dtype=torch.uint8, device=self.device)[None]
        self._task.eval()
        durations = []
        with torch.no_grad():
            for _ in range(1 + NUM_PREDICTIONS):
                start = self._now()
                self._task.measure(images, mask)
                self._finish()
                durations.append(self._now() - start)
        return statistics.median(durations[1:])

    def saving(self) -> float:
        """Return the duration of writing the weights into memory [s]."""
        start = self._now()
        torch.save(self._task.state_dict(), io.BytesIO())
        return self._now() - start

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
