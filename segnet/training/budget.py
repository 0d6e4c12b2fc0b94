"""Time budget of a run: parse it, and plan crop size, batch size, steps and validations from a measured speed.

The budget covers the whole process: start-up, dataset scan, probe, training, validations, checkpoints, final
evaluation and report. The learning rate schedule follows the clock (`segnet.training.callbacks.budget_clock`).
"""

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from segnet.config import Config, default_backbone, known
from segnet.errors import ConfigError
from segnet.times import parse_budget
from segnet.training.callbacks.budget_clock import VALIDATION_TIME
from segnet.training.plan import BATCH_SIZE, Facts, has_length, planned
from segnet.training.run_config import stored_config
from segnet.training.run_folder import AUTO_RESUME

GPU_BACKBONE = {"block": "bottleneck", "depths": [3, 4, 6, 3]}  # ResNet50_vd
LEAST_FOR_GPU_BACKBONE = 300.0  # smallest budget for it; below, a GPU trains ResNet18_vd [s]
FEWEST_STEPS = 50  # for fewer steps, the batch and then the crop is made smaller
CROP_STEP = 32  # sides of a crop that is made smaller are multiples of it [pixels]
SMALLEST_CROP = 128  # smallest side of a crop, unless the images are smaller [pixels]
SMALLEST_BATCH, LARGEST_BATCH = 4, 16
STEPS_FOR_LARGEST_BATCH = 8_000
SPEED_FRACTION = 0.85  # fraction of the probe's speed to plan with; data loading and other processes take the rest
MOST_VALIDATIONS = 20
LEAST_TRAINING = 0.2  # smallest fraction of the budget for training


def check_budget(config: Config) -> float | None:
    """Return the budget of a configuration in seconds; None without one.

    Raises:
        ConfigError: not a time, or several processes, because their clocks differ.
    """
    if config.budget is None:
        return None
    seconds = parse_budget(config.budget)
    devices, nodes = config.trainer.get("devices", 1), config.trainer.get("num_nodes", 1)
    if devices not in (1, "1", [0]) or nodes != 1:
        option = f"trainer.num_nodes={nodes}" if nodes != 1 else f"trainer.devices={devices}"
        raise ConfigError(f"budget={config.budget} supports only one process: leave out {option}")
    return seconds


def backbone_for(config: Config, device: str) -> dict[str, Any]:
    """Return the backbone: ResNet50_vd on a GPU with enough time, unless the backbone or its weights are set by hand.

    A resumed run keeps its backbone, on any device and with any budget.

    Args:
        device: device type, such as "cpu" or "cuda".
    """
    seconds = check_budget(config)
    has_own_weights = config.init_from is not None or config.backbone_weights not in (None, Config().backbone_weights)
    if seconds is None or has_own_weights or config.backbone != default_backbone():
        return config.backbone
    larger = {**config.backbone, **GPU_BACKBONE}
    if config.checkpoint not in (None, AUTO_RESUME):
        own = stored_config(Path(os.path.expanduser(config.checkpoint)).parent).get("backbone", {})
        return larger if all(own.get(name) == value for name, value in GPU_BACKBONE.items()) else config.backbone
    return larger if device == "cuda" and seconds >= LEAST_FOR_GPU_BACKBONE else config.backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Measurements of the probe.

    Attributes:
        pixels_per_second: throughput of training steps [pixels of crops / s].
        largest_batch: largest tested batch size that fits into memory.
        validation: estimated duration of a validation [s].
        loading: time of one process to load and augment a train image [s].
        num_workers: processes that load images during the steps; 0: the training process loads them itself.
        threads: threads that compute a training step; 0 on a GPU.
        cores: CPU cores, which workers and threads share.
    """

    pixels_per_second: float
    largest_batch: int
    validation: float
    loading: float = 0.0
    num_workers: int = 1
    threads: int = 1
    cores: int = 2

    def per_crop(self, area: float) -> float:
        """Return the duration of a crop of `area` pixels in training [s]."""
        return self.with_loading(area / self.pixels_per_second)

    def with_loading(self, computing: float) -> float:
        """Return the duration of an image whose computation takes `computing` [s]; workers load concurrently."""
        if not self.num_workers:
            return computing + self.loading
        loading = self.loading / min(self.num_workers, self.cores)
        return max(computing, loading, (self.threads * computing + self.loading) / self.cores)


def plan_within(config: Config, facts: Facts, speed: Speed, seconds: float) -> tuple[Config, int]:
    """Resolve the null options for a training of limited duration; return the configuration and its expected steps.

    Args:
        config: the configuration; null crop and batch sizes are chosen by the speed.
        seconds: time for training and its validations [s].

    Raises:
        ConfigError: an impossible option of the optimizer.
    """
    training = SPEED_FRACTION * seconds * (1 - VALIDATION_TIME)
    data = planned(config, facts).data
    crop, batch_size = known(data.crop_size), known(data.batch_size)
    if config.data.batch_size is None:
        batch_size = batch_for(training / speed.per_crop(math.prod(crop)), batch_size, speed.largest_batch)
    if config.data.crop_size is None:
        per_crop = training / (FEWEST_STEPS * batch_size)
        crop = crop_for(crop, per_crop * speed.pixels_per_second)
    steps = max(1, int(training / (speed.per_crop(math.prod(crop)) * batch_size * facts.accumulated)))
    data = replace(config.data, crop_size=crop, batch_size=batch_size)
    if has_length(config):
        return planned(replace(config, data=data), facts), steps
    number = max(1, min(MOST_VALIDATIONS, int(VALIDATION_TIME * seconds / max(speed.validation, 1e-9))))
    interval = (
        {}
        if "check_val_every_n_epoch" in config.trainer
        else {"val_check_interval": max(1, steps // number) * facts.accumulated}
    )
    trainer = {**interval, **config.trainer, "max_steps": steps}
    decided = planned(replace(config, data=data, trainer=trainer), facts)
    clocked = {key: value for key, value in decided.trainer.items() if key != "max_steps"}
    return replace(decided, trainer={**clocked, "max_epochs": -1}), steps  # the clock ends the run


def crop_for(crop: list[int], area: float) -> list[int]:
    """Shrink a crop to an area in pixels, to multiples of `CROP_STEP`; its sides stay at least `SMALLEST_CROP`."""
    factor = math.sqrt(area / math.prod(crop))
    if factor >= 1:
        return crop
    return [max(min(side, SMALLEST_CROP), int(side * factor) // CROP_STEP * CROP_STEP) for side in crop]


def batch_for(crops: float, batch_size: int, largest: int) -> int:
    """Return the batch size for a run of `crops` crops; at most `largest`, which fits into memory."""
    if crops >= STEPS_FOR_LARGEST_BATCH * LARGEST_BATCH and batch_size == BATCH_SIZE:
        batch_size = LARGEST_BATCH
    elif crops < FEWEST_STEPS * batch_size:
        batch_size = min(batch_size, SMALLEST_BATCH)
    return max(1, min(batch_size, largest))
