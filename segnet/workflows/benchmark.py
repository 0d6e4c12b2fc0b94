"""Benchmark a model on this machine: parameters, operations, memory and throughput of training and prediction.

Training and prediction run in separate fresh processes, so that only their own memory is counted. No data is loaded or
decoded: batches are random noise in memory.
"""

import json
import logging
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from segnet.classes import Classes
from segnet.components import did_you_mean
from segnet.config import PRECISIONS
from segnet.errors import ConfigError, MachineError
from segnet.inference.decisions import decision_of
from segnet.inference.runtimes import open_runtime
from segnet.inference.runtimes.onnx import OnnxRuntime
from segnet.inference.runtimes.openvino import OpenVINORuntime
from segnet.inference.runtimes.pytorch import TORCH_DTYPES, choose_device
from segnet.models.checkpoint import fitting, read_checkpoint, save_checkpoint
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.files import replacing
from segnet.system.machine import explained, is_out_of_memory, usable_precision
from segnet.training.optim import build_optimizer, parameter_groups
from segnet.training.specs import complete_specs
from segnet.training.task import SegmentationTask
from segnet.verb_config import BenchmarkConfig
from segnet.workflows.costs import Cost, cost, resident

SMALLEST_SIDE = 64  # smallest image side; a batch of one cannot train below it at output stride 32 [pixels]
LOWER = "batch_size or image_size"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Results of a benchmark.

    Attributes:
        config: the measured configuration.
        model: the model's spec, as a checkpoint stores it.
        parameters: number of parameters, without the auxiliary head.
        macs: multiply-accumulate operations of convolutions and matrix products to predict one image.
        training: time and memory of training.
        prediction: time and memory of prediction.
    """

    config: BenchmarkConfig
    model: dict[str, Any]
    parameters: int
    macs: int
    training: Cost
    prediction: Cost

    def to_dict(self) -> dict[str, Any]:
        """Return the results as JSON-compatible builtins."""
        options = ("checkpoint", "image_size", "batch_size", "precision", "compile")
        return {
            **{name: getattr(self.config, name) for name in options},
            "model": self.model,
            "parameters": self.parameters,
            "macs": self.macs,
            "flops": 2 * self.macs,
            "training": asdict(self.training),
            "prediction": asdict(self.prediction),
        }

    def write(self, path: Path) -> None:
        """Write the results as JSON."""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def benchmark(config: BenchmarkConfig) -> Benchmark:
    """Measure a checkpoint's model, or an untrained model of the given options.

    Raises:
        ConfigError: an impossible option.
        CheckpointError: the checkpoint cannot be used.
        MachineError: out of memory, a missing device, or a missing package.
    """
    _check(config)
    device = choose_device(config.device)
    config = replace(config, precision=usable_precision(config.precision, device.type))
    with tempfile.TemporaryDirectory() as folder:
        if config.checkpoint:
            checkpoint = Path(os.path.expanduser(config.checkpoint))
        else:
            checkpoint = _write_untrained(config, Path(folder) / "untrained.ckpt")
        model = read_checkpoint(checkpoint)["hyper_parameters"]["model"]
        with fitting(checkpoint):
            parameters, macs = count(model, config.image_size)
        if config.runtime not in (None, "torch"):
            # Exports the model if no export is cached, so that prediction's memory does not include it.
            _in_fresh_process(_open_model, checkpoint, config)
        log.info("measuring prediction")
        prediction = _in_fresh_process(measure_prediction, checkpoint, config)
        log.info("measuring training")
        training = _in_fresh_process(measure_training, checkpoint, config)
    return Benchmark(
        config=config, model=model, parameters=parameters, macs=macs, training=training, prediction=prediction
    )


def _check(config: BenchmarkConfig) -> None:
    for name in ("num_classes", "batch_size"):
        if getattr(config, name) < 1:
            raise ConfigError(f"{name}={getattr(config, name)} must be 1 or more")
    if config.precision not in PRECISIONS:
        raise ConfigError(
            f"precision={config.precision} cannot be measured.{did_you_mean(config.precision, PRECISIONS)}"
        )
    if not 0 < config.seconds <= 3600:
        raise ConfigError(f"seconds={config.seconds} must be above 0, at most 3600")
    if len(config.image_size) != 2 or min(config.image_size) < SMALLEST_SIDE:
        raise ConfigError(f"image_size={config.image_size} must be [height, width], each {SMALLEST_SIDE} or more")
    if config.loss and isinstance(config.loss.get("class_weight"), str):
        raise ConfigError(
            f"loss.class_weight={config.loss['class_weight']} needs training masks, and a benchmark has none: leave "
            "it out, or use a checkpoint that was trained with it"
        )


def _write_untrained(config: BenchmarkConfig, path: Path) -> Path:
    config = complete_specs(config)
    names = [f"class {index}" for index in range(config.num_classes)]
    half = [0.5] * config.backbone.get("in_channels", 3)
    task = SegmentationTask.create(
        model={"backbone": config.backbone, "decoder": config.decoder, "mean": half, "std": half},
        classes=Classes.create(names, ignore_index=max(255, len(names))),
        loss=config.loss,
        optim=config.optim,
        auxiliary_head=config.auxiliary_head,
    )
    save_checkpoint({"state_dict": task.state_dict(), "hyper_parameters": dict(task.hparams)}, path)
    return path


def count(model: dict[str, Any], image_size: list[int]) -> tuple[int, int]:
    """Count parameters, and multiply-accumulate operations to predict one image, without computing them.

    Args:
        model: spec of a SegmentationModel.
        image_size: (height, width) [pixels].
    """
    with torch.device("meta"):
        network = SegmentationModel(**model).eval()
        image = torch.zeros(1, network.in_channels, *image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2


def _in_fresh_process(task: Callable[[Path, BenchmarkConfig], Any], checkpoint: Path, config: BenchmarkConfig) -> Any:
    """Call `task` in a fresh process.

    Raises:
        MachineError: out of memory, or the process was killed.
    """
    height, width = config.image_size
    batch = f"{config.batch_size} images of {height} x {width}"
    try:
        with ProcessPoolExecutor(
            1,
            multiprocessing.get_context("spawn"),
            initializer=signal.signal,  # Ctrl-C ends the process at once, without a stack trace
            initargs=(signal.SIGINT, signal.SIG_DFL),
        ) as pool:
            return pool.submit(_explained, task, checkpoint, config, batch).result()
    except BrokenProcessPool:
        raise MachineError(
            f"the measuring process was killed, most likely out of memory with {batch}: lower {LOWER}"
        ) from None


def _explained(
    task: Callable[[Path, BenchmarkConfig], Any], checkpoint: Path, config: BenchmarkConfig, batch: str
) -> Any:
    with explained(batch, LOWER):
        try:
            return task(checkpoint, config)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, torch.OutOfMemoryError) or not is_out_of_memory(error):
                raise
        raise MachineError(f"out of memory with {batch}: lower {LOWER}")


def _open_model(checkpoint: Path, config: BenchmarkConfig) -> None:
    open_runtime(checkpoint, config.device, config.runtime, config.precision)


def measure_prediction(checkpoint: Path, config: BenchmarkConfig) -> Cost:
    """Measure prediction of batches, as a Predictor does it; call it in a fresh process."""
    before = resident()
    runtime = open_runtime(checkpoint, config.device, config.runtime, config.precision)
    images, decision = _noise(config.batch_size, runtime.channels, config.image_size), decision_of(runtime.classes)

    def predict() -> Tensor:
        return decision.masks(decision.scores(runtime(images.to(runtime.device)))).cpu()

    library = {OnnxRuntime: "onnxruntime", OpenVINORuntime: "openvino"}.get(type(runtime), "torch")
    return cost(predict, config.batch_size, config.seconds, runtime.device, before, library)


def measure_training(checkpoint: Path, config: BenchmarkConfig) -> Cost:
    """Measure training steps of the task on batches in device memory; call it in a fresh process."""
    before = resident()
    device = choose_device(config.device)
    hyper_parameters = read_checkpoint(checkpoint)["hyper_parameters"]
    with fitting(checkpoint):
        task = SegmentationTask(**{"loss": {"name": "cross_entropy"}, "optim": {}, **hyper_parameters}).to(device)
    if config.compile:
        task.compile_network()
    dtype = TORCH_DTYPES[config.precision]
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    groups = parameter_groups(task, task.model.backbone, task.optim)
    optimizer = build_optimizer(groups, task.optim, fused=not scaler.is_enabled())
    images = _noise(config.batch_size, task.model.in_channels, config.image_size).to(device)
    mask = _patches(config, task.classes).to(device)

    def step() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            loss, _ = task.losses(images, mask)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

    library = "torch.compile" if config.compile else "torch"
    return cost(step, config.batch_size, config.seconds, device, before, library)


def _noise(batch_size: int, channels: int, image_size: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch_size, channels, *image_size), dtype=torch.uint8, generator=generator)


def _patches(config: BenchmarkConfig, classes: Classes) -> Tensor:
    """Return masks (B, H, W) of random classes in patches of 32 x 32 pixels, or their planes (B, classes, H, W)."""
    num_classes = len(classes.names)
    height, width = config.image_size
    size = (config.batch_size, -(-height // 32), -(-width // 32))
    patches = torch.randint(0, num_classes, size, generator=torch.Generator().manual_seed(0))
    mask = patches.repeat_interleave(32, 1).repeat_interleave(32, 2)[:, :height, :width]
    if classes.is_multilabel:
        return torch.stack([mask == label for label in range(num_classes)], 1).to(torch.uint8)
    return mask.to(torch.uint8 if num_classes <= 256 else torch.int32)
