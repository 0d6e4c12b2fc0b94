"""An exported ONNX model with 8-bit weights and activations, and what that costs in mIoU.

onnxruntime's static quantization (QDQ): the ranges of the activations are those that images of the train split cause,
weights have a scale for each channel. Both onnxruntime and OpenVINO run the result.
"""

import inspect
import logging
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from segnet.classes import Classes
from segnet.data import DATASETS, build_dataset
from segnet.data.dataset import SegmentationDataset
from segnet.errors import ConfigError, DataError
from segnet.exporters.onnx import INPUT
from segnet.extras import import_extra
from segnet.inference.runtimes import Runtime
from segnet.inference.tta import argmax_classes
from segnet.models.digests import DIGEST_KEY, with_onnx_digest
from segnet.training.metrics import ConfusionMatrix, Scores

MAX_SIDE = 1024  # of calibration images, whose middle is taken [pixels]: all activations of an image are kept


@dataclass(frozen=True, slots=True)
class Calibration:
    """Images for the ranges of the activations, and others to measure the result on.

    Attributes:
        images: of which the ranges are taken.
        val: with masks.
        num_images: how many of `images` are used.
    """

    images: SegmentationDataset
    val: SegmentationDataset
    num_images: int

    @classmethod
    def open(cls, name: str, root: str | None, classes: Classes, num_images: int) -> "Calibration":
        """The train and val split of a dataset.

        Args:
            name: from `segnet.data.DATASETS`.
            root: its folder; None where it has none.
            classes: of the checkpoint, which the dataset must have.

        Raises:
            ConfigError: an unknown dataset, or it lacks an option. DataError: files are missing or classes differ.
        """
        spec: dict[str, Any] = {"name": name} if root is None else {"name": name, "root": root}
        own = {"class_names": list(classes.names), "palette": classes.palette, "ignore_index": classes.ignore_index}
        options = inspect.signature(DATASETS[name]).parameters if name in DATASETS else {}
        spec |= {key: value for key, value in own.items() if key in options}
        if num_images < 1:
            raise ConfigError(f"--calibration-images {num_images} must be 1 or more")
        images, val = (build_dataset(spec, split, classes) for split in ("train", "val"))
        if val.classes.names != classes.names:
            raise DataError(f"dataset {name} has other classes than the checkpoint: {', '.join(val.classes.names)}")
        return cls(images, val, min(num_images, len(images)))

    def batches(self, dtype: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Images spread over the split, as the model takes them."""
        for index in np.linspace(0, len(self.images) - 1, self.num_images).round().astype(int):
            image = _middle(self.images.load(int(index)).image)
            yield {INPUT: np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(dtype)}

    def measure(self, runtime: Runtime) -> float:
        """mIoU on the val split, whole images one at a time."""
        confusion = ConfusionMatrix(len(runtime.classes.names), self.val.classes.ignore_index)
        for index in range(len(self.val)):
            sample = self.val.load(index)
            image = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))[None]
            confusion.update(argmax_classes(runtime(image))[0], torch.from_numpy(sample.mask))
        return Scores.from_matrix(confusion.compute()).miou


def quantize(model: Path, quantized: Path, calibration: Calibration, dtype: str) -> None:
    """Writes the 8-bit model, with the metadata of the other.

    Args:
        model: ONNX file of `segnet.exporters.onnx`.
        quantized: path to be.
        dtype: of the images that the model takes.

    Raises:
        MachineError: onnxruntime or onnx is not installed.
    """
    quantization: Any = import_extra("onnxruntime.quantization", "onnx")
    preprocess = import_extra("onnxruntime.quantization.shape_inference", "onnx").quant_pre_process
    onnx: Any = import_extra("onnx", "onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it logs to the root what nobody can act on
    try:
        with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
            prepared = Path(folder) / "prepared.onnx"
            preprocess(model, prepared, skip_symbolic_shape=True)  # takes norms into convolutions
            quantization.quantize_static(
                prepared,
                quantized,
                _Reader(calibration.batches(dtype)),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv", "Add", "Concat", "MaxPool", "Relu"],
            )
    finally:
        root.setLevel(level)
    result = onnx.load(quantized)
    del result.metadata_props[:]
    for entry in onnx.load(model, load_external_data=False).metadata_props:
        if entry.key != DIGEST_KEY.decode():  # the digest of the other file
            result.metadata_props.add(key=entry.key, value=entry.value)
    quantized.write_bytes(with_onnx_digest(result.SerializeToString()))


class _Reader:
    """onnxruntime's CalibrationDataReader, by its methods."""

    def __init__(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> None:
        self._batches = batches

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._batches, None)


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(0, (size - MAX_SIDE) // 2) for size in image.shape[:2])
    return image[top : top + MAX_SIDE, left : left + MAX_SIDE]
