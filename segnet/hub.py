"""A model with huggingface_hub's `from_pretrained`, `save_pretrained` and `push_to_hub`.

Imports huggingface_hub, an optional package: nothing in segnet imports this module.

    from segnet.hub import HubModel

    model = HubModel.from_checkpoint("best.ckpt")
    model.push_to_hub("name/of-the-model")
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin, errors
from safetensors import SafetensorError

from segnet.classes import Classes
from segnet.errors import CheckpointError, MachineError, first_line
from segnet.models.checkpoint import load_checkpoint, read_checkpoint
from segnet.models.digests import require_config_digests
from segnet.models.pretrained import CONFIG, NO_MODEL, TAGS, WEIGHTS, model_card, save_pretrained
from segnet.models.segmentation_model import SegmentationModel
from segnet.models.temperature import Temperature
from segnet.published.zoo import find_model
from segnet.system.integrity import refusing_damage
from segnet.weights.hub_files import HUB_NAME, hub_error


class HubModel(SegmentationModel, PyTorchModelHubMixin, library_name="segnet", tags=TAGS):
    """A SegmentationModel with its classes; `segnet.models.pretrained` describes its files.

    Args:
        classes: arguments of `Classes.create`.
        backbone, decoder, num_classes, mean, std, value_range: see SegmentationModel.
        temperature: values of that of the probabilities, see `segnet.models.temperature`; None: 1.

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
        value_range: Sequence[float] | None = None,
        temperature: Sequence[float] | None = None,
    ) -> None:
        spec: dict[str, Any] = {"backbone": backbone, "decoder": decoder, "num_classes": num_classes}
        spec |= {"mean": mean, "std": std, **({} if value_range is None else {"value_range": value_range})}
        super().__init__(**spec)
        self.classes = Classes.create(**classes)
        self.temperature = Temperature.read(temperature, num_classes)
        self._spec = spec

    @classmethod
    def from_checkpoint(cls, checkpoint: str | os.PathLike[str]) -> "HubModel":
        """Load the model of a segnet checkpoint, or a published model by its name, in evaluation mode.

        Raises:
            CheckpointError: the file cannot be used, or no published model has this name.
            MachineError: the download failed.
        """
        path = find_model(checkpoint)
        trained, classes = load_checkpoint(path)
        model = cls(**read_checkpoint(path)["hyper_parameters"]["model"], classes=classes.to_dict())
        model.load_state_dict(trained.state_dict())
        model.temperature = trained.temperature
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **options: Any) -> "HubModel":
        """Load a model from a folder or from the Hugging Face hub, in evaluation mode.

        Args:
            options: options of huggingface_hub's mixin: revision, token, cache_dir, local_files_only, ...

        Raises:
            CheckpointError: the folder or name does not exist, or contains no model of segnet.
            MachineError: the network failed, or HF_HUB_OFFLINE is set.
        """
        name = os.fspath(pretrained_model_name_or_path)
        folder = Path(name)
        if folder.is_dir():
            for file in (CONFIG, WEIGHTS):
                if not (folder / file).is_file():
                    raise CheckpointError(f"{name}: has no {file}")
            with refusing_damage(folder, NO_MODEL):
                return super().from_pretrained(name, **options)
        if folder.exists() or not HUB_NAME.fullmatch(name):
            raise CheckpointError(f"{name}: no such folder, and not the name of a model on the hub, such as user/model")
        try:
            return super().from_pretrained(name, **options)
        except (CheckpointError, MachineError):
            raise
        except (TypeError, LookupError, AttributeError, ValueError, RuntimeError, SafetensorError) as error:
            if isinstance(error, errors.HFValidationError):
                raise hub_error(errors, name, error, "folder") from None
            raise CheckpointError(f"{name}: {NO_MODEL} ({first_line(error)})") from None
        except Exception as error:  # network errors of huggingface_hub or its HTTP library
            raise hub_error(errors, name, error, "folder") from None

    @classmethod
    def _load_as_safetensor(cls, model: Any, model_file: str, map_location: str, strict: bool) -> Any:
        """Load strictly and verify digests; the mixin's method accepts missing and unexpected weights."""
        config = json.loads(Path(model_file).with_name(CONFIG).read_text(encoding="utf-8"))
        require_config_digests(config, Path(model_file))
        return super()._load_as_safetensor(model, model_file, map_location, True)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_pretrained(self._spec, self.state_dict(), self.classes, Path(save_directory), self.temperature)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """Return the model card."""
        return ModelCard(model_card(self._spec, self.classes))
