"""Quantize an exported ONNX model to 8 bits, and measure the loss of mIoU.

onnxruntime's static quantization (QDQ): images of the train split determine the activation ranges; weights have one
scale per channel. Both onnxruntime and OpenVINO run the result.
"""

import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from segnet.inference.decisions import decision_of
from segnet.inference.runtimes import Runtime
from segnet.models.digests import DIGEST_KEY, with_onnx_digest
from segnet.training.label_metrics import metric_of

MAX_SIDE = 1024  # center crop of calibration images [pixels]: all activations of an image are kept in memory


@dataclass(frozen=True, slots=True)
class Calibration:
    """Calibration images, and a val split to measure the quantized model.

    Attributes:
        images: images that determine the activation ranges.
        val: images with masks for the mIoU.
        num_images: number of calibration images used.
    """

    images: SegmentationDataset
    val: SegmentationDataset
    num_images: int

    @classmethod
    def open(cls, name: str, root: str | None, classes: Classes, num_images: int) -> "Calibration":
        """Open the train and val splits of a dataset.

        Args:
            name: name from `segnet.data.DATASETS`.
            root: the dataset's folder; None if it needs none.
            classes: the checkpoint's classes, which the dataset must have.
            num_images: number of calibration images.

        Raises:
            ConfigError: an unknown dataset, or one that needs more options.
            DataError: files are missing, or the classes differ.
        """
        spec: dict[str, Any] = {"name": name} if root is None else {"name": name, "root": root}
        own = {"class_names": list(classes.names), "palette": classes.palette, "ignore_index": classes.ignore_index}
        own["task"] = classes.task
        options = inspect.signature(DATASETS[name]).parameters if name in DATASETS else {}
        spec |= {key: value for key, value in own.items() if key in options}
        if num_images < 1:
            raise ConfigError(f"--calibration-images {num_images} must be 1 or more")
        images, val = (build_dataset(spec, split, classes) for split in ("train", "val"))
        if val.classes.names != classes.names:
            raise DataError(f"dataset {name} has other classes than the checkpoint: {', '.join(val.classes.names)}")
        return cls(images, val, min(num_images, len(images)))

    def batches(self, dtype: str) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Yield images, evenly spread over the split, as model inputs (1, C, H, W)."""
        for index in np.linspace(0, len(self.images) - 1, self.num_images).round().astype(int):
            image = _middle(self.images.load(int(index)).image)
            yield {INPUT: np.ascontiguousarray(image.transpose(2, 0, 1)[None]).astype(dtype)}

    def measure(self, runtime: Runtime) -> float:
        """Measure the mIoU on the val split, one whole image at a time."""
        counts, decision = metric_of(runtime.classes), decision_of(runtime.classes)
        for index in range(len(self.val)):
            sample = self.val.load(index)
            image = torch.from_numpy(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))[None]
            counts.update(decision.counted(decision.scores(runtime(image)))[0], torch.from_numpy(sample.mask))
        return counts.scores(counts.compute()).miou


def quantize(
    model: Path,
    quantized: Path,
    calibration: Calibration,
    dtype: str,
    kept: Callable[[Any], Sequence[str]] = lambda graph: (),
) -> None:
    """Write the 8-bit model, with the original's metadata.

    Args:
        model: ONNX file written by `segnet.exporters.onnx`.
        quantized: path of the quantized file.
        calibration: the calibration images.
        dtype: dtype of the model's input.
        kept: names of the nodes of an ONNX graph that keep float32.

    Raises:
        MachineError: onnxruntime or onnx is not installed.
    """
    quantization: Any = import_extra("onnxruntime.quantization", "onnx")
    preprocess = import_extra("onnxruntime.quantization.shape_inference", "onnx").quant_pre_process
    onnx: Any = import_extra("onnx", "onnx")
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime logs irrelevant warnings to the root logger
    try:
        with tempfile.TemporaryDirectory(prefix="segnet-") as folder:
            prepared = Path(folder) / "prepared.onnx"
            preprocess(model, prepared, skip_symbolic_shape=True)  # folds norms into convolutions
            quantization.quantize_static(
                prepared,
                quantized,
                _Reader(calibration.batches(dtype)),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv", "Add", "Concat", "MaxPool", "Relu"],
                nodes_to_exclude=kept(onnx.load(prepared).graph),
            )
    finally:
        root.setLevel(level)
    result = onnx.load(quantized)
    del result.metadata_props[:]
    for entry in onnx.load(model, load_external_data=False).metadata_props:
        if entry.key != DIGEST_KEY.decode():  # the original file's digest
            result.metadata_props.add(key=entry.key, value=entry.value)
    quantized.write_bytes(with_onnx_digest(result.SerializeToString()))


class _Reader:
    """Implements onnxruntime's CalibrationDataReader."""

    def __init__(self, batches: Iterator[Mapping[str, NDArray[Any]]]) -> None:
        self._batches = batches

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._batches, None)


def _middle(image: NDArray[Any]) -> NDArray[Any]:
    top, left = (max(0, (size - MAX_SIDE) // 2) for size in image.shape[:2])
    return image[top : top + MAX_SIDE, left : left + MAX_SIDE]
