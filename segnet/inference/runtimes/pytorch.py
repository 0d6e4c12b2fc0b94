"""Runtime for checkpoints and safetensors exports: torch."""

import os
import re
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import ConfigError, MachineError, first_line
from segnet.inference.runtimes.optimization import PROBE, keep_layer_memory, optimize
from segnet.models.checkpoint import load_checkpoint
from segnet.models.pretrained import is_pretrained, load_pretrained
from segnet.models.segmentation_model import SegmentationModel
from segnet.system.machine import usable_precision

TORCH_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchRuntime:
    """Runs a checkpoint with torch on any of its devices; implements `segnet.inference.runtimes.Runtime`.

    Args:
        checkpoint: path of a segnet checkpoint, or of an export by `segnet.models.pretrained`.
        device: "cpu", "cuda", "cuda:1", "mps"; None: a GPU if available.
        precision: precision of backbone and decoder, from TORCH_DTYPES; images are normalized and logits resized in
            float32. A CPU without bf16 instructions uses float32 and logs a warning.

    Raises:
        CheckpointError: the file cannot be used. MachineError: the device does not exist.
        ConfigError: fp16 on a CPU.
    """

    def __init__(
        self, checkpoint: str | os.PathLike[str], device: str | None = None, precision: str = "float32"
    ) -> None:
        load = load_pretrained if is_pretrained(checkpoint) else load_checkpoint
        model, self.classes = load(checkpoint)
        self.channels = model.in_channels
        self.value_range = model.value_range
        self.has_probabilities = True
        self.temperature = model.temperature
        self.device = choose_device(device)
        model.to(self.device)
        if precision == "fp16" and self.device.type == "cpu":
            raise ConfigError("precision=fp16 needs a GPU; use float32 or bf16 on a CPU")
        self._dtype = TORCH_DTYPES[usable_precision(precision, self.device.type)]
        self._normalize = model.normalize
        self._align_corners: bool = model.decoder.align_corners
        if self.device.type == "cpu":
            keep_layer_memory()
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(0, 256, (1, self.channels, PROBE, PROBE), generator=generator)
        with torch.inference_mode():
            self._network = optimize(_Network(model), self._normalize(image.to(self.device)), dtype=self._dtype)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        logits: Tensor = self._network(self._normalized(images))
        return self._resized(logits, images)

    @torch.inference_mode()
    def with_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predict images as `__call__` does; return the logits, and the features (B, channels) of the images.

        They are the backbone's last features, float32, averaged over each image.
        """
        network: Any = self._network
        features = network.backbone(self._normalized(images))
        return self._resized(network.decoder(features), images), features[-1].float().mean(dim=(2, 3))

    def _normalized(self, images: Tensor) -> Tensor:
        normalized: Tensor = self._normalize(images)
        return normalized.to(self._dtype, memory_format=torch.channels_last)

    def _resized(self, logits: Tensor, images: Tensor) -> Tensor:
        size, align = images.shape[2:], self._align_corners
        resized: Tensor = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=align)
        return resized


class _Network(nn.Module):
    """The part of a model that runs in the chosen precision: normalized images -> logits at the decoder's stride."""

    def __init__(self, model: SegmentationModel) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.decoder = model.decoder

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.decoder(self.backbone(images))
        return logits


def choose_device(device: str | None) -> torch.device:
    """The named device; a GPU if available for None.

    Raises:
        ConfigError: not the name of a device. MachineError: the device does not exist.
    """
    try:
        chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=chosen).item()
    except (RuntimeError, AssertionError) as error:
        if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", device or "cuda"):
            raise ConfigError(f"device '{device}' cannot be used: name cpu, cuda, cuda:N or mps") from None
        raise MachineError(f"device '{device}' cannot be used: {first_line(error)}{_way_out(device)}") from None
    return chosen


def _way_out(device: str | None) -> str:
    if device == "mps" or not torch.cuda.is_available():
        build = "" if device == "mps" else ", or a build of torch with CUDA: see segnet doctor"
        return f"; use device cpu{build}"
    return f"; use one of the {torch.cuda.device_count()} GPUs, from cuda:0 on"
