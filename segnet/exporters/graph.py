"""The exported graph: images in, as uint8 or float, and logits or class ids out."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F
from torch.utils._sympy.value_ranges import ValueRanges

from segnet.classes import Classes
from segnet.errors import MachineError, first_line
from segnet.models.metadata import Metadata
from segnet.models.segmentation_model import SegmentationModel

EXAMPLE = (2, 65, 97)  # batch, height and width of the images that the model is traced with


class _Exportable(nn.Module):
    """A model with logits or masks as output.

    Args:
        model: images -> logits.
        ids: dtype of class ids to return instead of logits; None: return logits.
        thresholds: with several classes per pixel, the probability of each class from which its plane has a 1.
    """

    thresholds: Tensor

    def __init__(self, model: nn.Module, ids: torch.dtype | None, thresholds: Sequence[float] = ()) -> None:
        super().__init__()
        self.model = model
        self.ids = ids
        self.several = bool(thresholds)
        self.register_buffer("thresholds", torch.tensor(list(thresholds))[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        if self.ids is None:
            return logits
        if self.several:
            return (logits.sigmoid() >= self.thresholds).to(self.ids)
        return logits.argmax(dim=1).to(self.ids)


class _EvenPool(nn.Module):
    """2x2 average pool with ceil_mode and without padding in the mean, in operators that support tiny images.

    For images of a few pixels OpenVINO returns nothing from torch's pool, and torch.export refuses it. With replicate
    padding by one, the last mean of an odd size is that of a pixel and its copy. An even size does not use the copy.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


def exportable(model: nn.Module, metadata: Metadata) -> nn.Module:
    """Copy a model in evaluation mode for export: the same function, in operators that every runtime supports."""
    model = copy.deepcopy(model)
    for name, pool in list(model.named_modules()):
        if isinstance(pool, nn.AvgPool2d) and pool.ceil_mode and not pool.count_include_pad:
            assert (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0), f"{name}: not the pool of a shortcut"
            model.set_submodule(name, _EvenPool())
    small = len(metadata.classes.names) <= 256
    ids = None if metadata.output == "logits" else (torch.uint8 if small else torch.int32)
    thresholds = metadata.classes.decision_thresholds if metadata.classes.is_multilabel else ()
    return _Exportable(model, ids, thresholds).eval()


def metadata_of(model: SegmentationModel, classes: Classes, input: str, output: str, digest: str) -> Metadata:
    """Metadata that the exported file stores."""
    mean, std = (
        [round(value, 7) for value in (buffer.flatten() / 255).tolist()]  # as in the configuration, not as float32
        for buffer in (model.normalize.mean, model.normalize.std)
    )
    return Metadata(classes, mean, std, input, output, digest, model.value_range, model.temperature)


@torch.no_grad()
def program(model: nn.Module, metadata: Metadata) -> ExportedProgram:
    """Trace a model to a graph for any batch size, height and width.

    Raises:
        MachineError: torch cannot trace the model, for example one of timm.
    """
    batch, height, width = EXAMPLE
    images = torch.zeros(batch, metadata.channels, height, width, dtype=getattr(torch, metadata.input))
    try:
        traced = torch.export.export(
            model, (images,), dynamic_shapes=({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
        )
    except Exception as error:  # of many kinds
        raise MachineError(f"the model cannot be exported: {first_line(error)}") from error
    # torch assumes that no size inside the graph is 1. The operators work for it: an export is tested with such images.
    for size, values in traced.range_constraints.items():
        traced.range_constraints[size] = ValueRanges(1, values.upper)
    return traced
