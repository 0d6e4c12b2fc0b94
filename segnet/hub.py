"""A model with huggingface_hub's `from_pretrained`, `save_pretrained` and `push_to_hub`.

Imports huggingface_hub, an optional package: nothing in segnet imports this module.

    from segnet.hub import HubModel

    model = HubModel.from_checkpoint("best.ckpt")
    model.push_to_hub("name/of-the-model")
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin

from segnet.checkpoint import load_checkpoint, read_checkpoint
from segnet.classes import Classes
from segnet.model import SegmentationModel
from segnet.pretrained import TAGS, model_card


class HubModel(SegmentationModel, PyTorchModelHubMixin, library_name="segnet", tags=TAGS):
    """A SegmentationModel that knows its classes; `segnet.pretrained` says what its files hold.

    Args:
        classes: as `Classes.create` takes them.
        backbone, decoder, num_classes, mean, std: see SegmentationModel.

    Attributes:
        classes: names, palette and ignore_index.
    """

    def __init__(
        self,
        *,
        backbone: Mapping[str, Any],
        decoder: Mapping[str, Any],
        num_classes: int,
        mean: Sequence[float],
        std: Sequence[float],
        classes: Mapping[str, Any],
    ) -> None:
        super().__init__(backbone=backbone, decoder=decoder, num_classes=num_classes, mean=mean, std=std)
        self.classes = Classes.create(**classes)
        self._spec = {"backbone": backbone, "decoder": decoder, "mean": mean, "std": std}

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike[str]) -> "HubModel":
        """The model of a segnet checkpoint, in evaluation mode.

        Raises:
            CheckpointError: the file cannot be used.
        """
        trained, classes = load_checkpoint(path)
        model = cls(**read_checkpoint(path)["hyper_parameters"]["model"], classes=classes.to_dict())
        model.load_state_dict(trained.state_dict())
        return model.eval()

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """segnet's own card."""
        return ModelCard(model_card(self._spec, self.classes))
