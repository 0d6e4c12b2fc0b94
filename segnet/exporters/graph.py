"""The model as it is exported: images in the asked type in, logits or class ids out."""

import copy

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F
from torch.utils._sympy.value_ranges import ValueRanges

from segnet.classes import Classes
from segnet.errors import MachineError, first_line
from segnet.models.metadata import Metadata
from segnet.models.segmentation_model import SegmentationModel

EXAMPLE = (2, 65, 97)  # batch, height, width of the images that the model is followed with


class _Exportable(nn.Module):
    """Args:
    model: images -> logits.
    ids: None, or the type of the class ids that it gives instead of logits.
    """

    def __init__(self, model: nn.Module, ids: torch.dtype | None) -> None:
        super().__init__()
        self.model = model
        self.ids = ids

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits if self.ids is None else logits.argmax(dim=1).to(self.ids)


class _EvenPool(nn.Module):
    """2x2 average pool that rounds sizes up and counts no padding, in operators that agree on images of a few pixels.

    OpenVINO gives nothing there for torch's own, and torch.export refuses them. With the border repeated once, the last
    mean of an odd size is that of a pixel and itself; of an even size the repetition is left over.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 2)


def exportable(model: nn.Module, metadata: Metadata) -> nn.Module:
    """A model in evaluation mode -> what its export computes, the same function in operators that travel well."""
    model = copy.deepcopy(model)
    for name, pool in list(model.named_modules()):
        if isinstance(pool, nn.AvgPool2d) and pool.ceil_mode and not pool.count_include_pad:
            assert (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0), f"{name}: another pool than a shortcut's"
            model.set_submodule(name, _EvenPool())
    small = len(metadata.classes.names) <= 256
    ids = None if metadata.output == "logits" else (torch.uint8 if small else torch.int32)
    return _Exportable(model, ids).eval()


def metadata_of(model: SegmentationModel, classes: Classes, input: str, output: str, digest: str) -> Metadata:
    """What an export of a model tells of itself."""
    mean, std = (
        [round(value, 7) for value in (buffer.flatten() / 255).tolist()]  # as they were written, not as float32
        for buffer in (model.normalize.mean, model.normalize.std)
    )
    return Metadata(classes, mean, std, input, output, digest)


@torch.no_grad()
def program(model: nn.Module, metadata: Metadata) -> ExportedProgram:
    """The model as a graph, of any batch, height and width.

    Raises:
        MachineError: torch cannot follow a model of timm.
    """
    batch, height, width = EXAMPLE
    images = torch.zeros(batch, metadata.channels, height, width, dtype=getattr(torch, metadata.input))
    try:
        followed = torch.export.export(
            model, (images,), dynamic_shapes=({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
        )
    except Exception as error:  # of many kinds, as models do what cannot be followed
        raise MachineError(f"the model cannot be exported: {first_line(error)}") from error
    # torch takes for granted that no size on the way is 1. The operators do not mind: exporting.SIZES has such images.
    for size, values in followed.range_constraints.items():
        followed.range_constraints[size] = ValueRanges(1, values.upper)
    return followed
