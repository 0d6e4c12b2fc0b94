"""The model as it is exported: images in the asked type in, logits or class ids out."""

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from segnet.classes import Classes
from segnet.errors import MachineError
from segnet.metadata import Metadata
from segnet.model import SegmentationModel

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
        logits = self.model(images)
        return logits if self.ids is None else logits.argmax(dim=1).to(self.ids)


def exportable(model: nn.Module, metadata: Metadata) -> nn.Module:
    """A model in evaluation mode -> what its export computes."""
    small = len(metadata.classes.names) <= 256
    ids = None if metadata.output == "logits" else (torch.uint8 if small else torch.int32)
    return _Exportable(model, ids).eval()


def metadata_of(model: SegmentationModel, classes: Classes, input: str, output: str, digest: str) -> Metadata:
    """What an export of a model tells of itself."""
    mean, std = (
        [round(value, 7) for value in (buffer.flatten() / 255).tolist()]  # as they were written, not as float32
        for buffer in (model.normalise.mean, model.normalise.std)
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
        return torch.export.export(model, (images,), dynamic_shapes=({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},))
    except Exception as error:  # of many kinds, as models do what cannot be followed
        raise MachineError(f"the model cannot be exported: {str(error).splitlines()[0]}") from error
