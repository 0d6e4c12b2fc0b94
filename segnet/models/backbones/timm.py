"""Backbones from timm at a chosen output stride: Res2Net, ResNeSt, RegNet, ConvNeXt, Swin, ...

Source: PyTorch Image Models (https://github.com/huggingface/pytorch-image-models), an optional package, imported only
to build such a backbone. Three things differ from timm's feature extractors. Features finer than stride 4 are left out,
and features are always (B, C, H, W). Images may have any size: if a model does not round feature sizes up, images are
padded with the mean color, and features are cropped.
"""

import difflib
import importlib
import inspect
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.config import OUTPUT_STRIDES
from segnet.errors import ConfigError, MachineError, first_line
from segnet.extras import matching_torchvision
from segnet.models.layers import require_output_stride

FINEST_STRIDE = 4  # stride of the decoders' low-level features
# Options that allow other image sizes than in training for timm's transformers.
FREE_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
# Tried with every model, and dropped if a model does not know them; the resulting features are checked.
OPTIONAL = ("output_stride", *FREE_SIZE)


class TimmBackbone(nn.Module):
    """A timm model without its classifier; see `segnet.models.backbones` for the contract.

    Args:
        model: timm's name of the architecture ("regnety_008"), without a tag of weights.
        output_stride: stride of the last features [pixels].
        in_channels: channels of the images.
        drop_path_rate: probability of dropping the last block in training (stochastic depth), [0, 1).

    Attributes:
        net: timm's feature extractor, with its weight names.

    Raises:
        MachineError: timm is not installed.
        ConfigError: an unknown model, or one without features at that stride.
    """

    def __init__(self, model: str, output_stride: int = 16, in_channels: int = 3, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        require_output_stride(output_stride)
        if not 0 <= drop_path_rate < 1:
            raise ConfigError(f"backbone.drop_path_rate={drop_path_rate} must be a probability in [0, 1)")
        if in_channels < 1:
            raise ConfigError(f"backbone.in_channels={in_channels} must be 1 or more")
        timm = import_timm()
        check_name(timm, model)
        self.model = model
        self.in_channels = in_channels
        self.net = create_extractor(timm, model, output_stride, in_channels, drop_path_rate)
        info: Any = self.net.feature_info
        strides = info.reduction()
        if strides[-1] != output_stride:
            way = f": choose output_stride={strides[-1]}" if strides[-1] in OUTPUT_STRIDES else ""
            raise ConfigError(
                f"backbone.model={model} does not support output_stride={output_stride}, "
                f"its features end at stride {strides[-1]}{way}"
            )
        self.first = next(i for i, stride in enumerate(strides) if stride >= FINEST_STRIDE)
        self.strides = tuple(strides[self.first :])
        self.channels = tuple(info.channels()[self.first :])
        self.channels_last = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")
        self.pads = self._must_pad()

    def forward(self, images: Tensor) -> list[Tensor]:
        """Compute the features from stride 4 on of images (B, in_channels, H, W), float, normalized."""
        height, width = images.shape[2:]
        if not self.pads:
            return self._features(images)
        stride = self.strides[-1]
        sizes = [((height + step - 1) // step, (width + step - 1) // step) for step in self.strides]
        # Zero is the mean color. Padding to more and cutting needs no remainder, which ONNX rounds otherwise.
        padded = F.pad(images, (0, stride - 1, 0, stride - 1))[:, :, : sizes[-1][0] * stride, : sizes[-1][1] * stride]
        features = self._features(padded)
        return [feature[:, :, :rows, :columns] for feature, (rows, columns) in zip(features, sizes, strict=True)]

    def _features(self, images: Tensor) -> list[Tensor]:
        features = list(self.net(images))[self.first :]
        return [feature.permute(0, 3, 1, 2) for feature in features] if self.channels_last else features

    @torch.no_grad()
    def _must_pad(self) -> bool:
        """Test whether images need padding so that feature sizes round up.

        Raises:
            ConfigError: features are wrong even for multiples of the output stride, or differ from timm's declaration.
        """
        stride = self.strides[-1]
        training = self.net.training
        self.net.eval()
        try:
            if all(self._keeps_contract(size) for size in ((1, 1), (stride + 1, 2 * stride - 1))):
                return False
            if all(self._keeps_contract(size) for size in ((stride, stride), (2 * stride, 3 * stride))):
                return True
        finally:
            self.net.train(training)
        raise ConfigError(
            f"backbone.model={self.model} cannot be a backbone: it does not give features of the strides "
            f"{list(self.strides)} and channels {list(self.channels)} from images of any size"
        )

    def _keeps_contract(self, size: tuple[int, int]) -> bool:
        image = torch.zeros(1, self.in_channels, *size, device=next(self.net.parameters()).device)
        try:
            shapes = [tuple(feature.shape) for feature in self._features(image)]
        except Exception:  # models refuse sizes in many ways: assertions, convolutions of nothing, failed views
            return False
        return shapes == [
            (1, channels, -(-size[0] // stride), -(-size[1] // stride))
            for channels, stride in zip(self.channels, self.strides, strict=True)
        ]

    @property
    def parts(self) -> list[nn.Module] | None:
        """The stem and the stages in the order of the forward pass; None if timm's extractor does not expose them."""
        last_of_stage = list(getattr(self.net, "return_layers", {}))[self.first :]
        if not last_of_stage:
            return None
        parts: list[list[nn.Module]] = [[]]
        stages_ended = 0
        for name, child in self.net.named_children():
            if stages_ended == 0 and name == last_of_stage[0]:
                parts.append([])  # the modules before it are the stem
            parts[-1].append(child)
            if name in last_of_stage:
                stages_ended += 1
                if stages_ended < len(last_of_stage):
                    parts.append([])
        return [nn.ModuleList(part) for part in parts]

    def load_pretrained(self, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
        """Load pretrained weights of the whole timm model, by timm's names; the classifier is ignored.

        Nothing is loaded unless everything fits. A first convolution with another number of channels is adapted.

        Returns:
            Names of missing weights, and names of unknown weights; a weight of another shape is in both.
        """
        timm = import_timm()
        # The whole model provides the names after the features, and timm's filters need it.
        with torch.device("meta"):
            whole = create(timm, self.model, FREE_SIZE)
        state = filter_checkpoint(timm, self.model, dict(state), whole)
        shapes = {name: value.shape for name, value in whole.state_dict().items()}
        unknown = [name for name, value in state.items() if shapes.get(name) != value.shape]
        adapted = dict(state)
        for name in first_convolutions(whole):
            if name in state and name not in unknown:
                adapted[name] = timm.models.adapt_input_conv(self.in_channels, state[name])
        names = self._names_in_timm(shapes)
        missing = [
            theirs
            for ours, theirs in names.items()
            if (theirs not in state or theirs in unknown) and not ours.endswith("num_batches_tracked")
        ]
        if not missing and not unknown:
            loaded = {ours: adapted[theirs] for ours, theirs in names.items() if theirs in adapted}
            self.net.load_state_dict(loaded, strict=False)
        return sorted(missing), sorted(unknown)

    def _names_in_timm(self, known: Mapping[str, Any]) -> dict[str, str]:
        """Map the extractor's names to the whole model's: "stages_0.blocks..." -> "stages.0.blocks..."."""
        names = {}
        for ours in self.net.state_dict():
            without_wrapper = ours.partition(".")[2]
            split = [ours[:i] + "." + ours[i + 1 :] for i, letter in enumerate(ours) if letter == "_"]
            names[ours] = next((name for name in (ours, without_wrapper, *split) if name in known), ours)
        return names


def import_timm() -> ModuleType:
    """Import timm.

    Raises:
        MachineError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise MachineError(f"backbone.name=timm: timm cannot be imported ({error}): install it again") from None
        raise MachineError('backbone.name=timm needs the package timm: pip install "segnet[timm]"') from None
    except Exception as error:  # a torchvision that does not match torch fails with a RuntimeError
        reason = first_line(error)
        if "torchvision" in reason:
            way = (
                f"torchvision does not match torch {torch.__version__}: install "
                f"{matching_torchvision(torch.__version__)}"
            )
        else:
            way = "install it again, or install segnet in a new environment"
        raise MachineError(f"backbone.name=timm: timm cannot be imported ({reason}): {way}") from None


def check_name(timm: ModuleType, model: str) -> None:
    """Check that a model is the plain name of an architecture; timm would download names like "hf-hub:...".

    Raises:
        ConfigError: it is not; the message suggests similar names.
    """
    architecture, dot, _ = model.partition(".")
    if timm.is_model(architecture):  # ignores a tag
        if not dot:
            return
        raise ConfigError(
            f"backbone.model={model} contains a tag of weights: use backbone.model={architecture} "
            f"backbone_weights=timm/{model}"
        )
    names = timm.list_models()
    near = difflib.get_close_matches(model, names, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all names"
    raise ConfigError(f"backbone.model={model} is unknown to timm {timm.__version__}: {hint}")


def default_weights(model: str) -> str | None:
    """Return the hub name of timm's default weights for an architecture; None if timm publishes none.

    Raises:
        MachineError: timm is not installed. ConfigError: it has no such model.
    """
    timm = import_timm()
    check_name(timm, model)
    published = timm.get_pretrained_cfg(model)
    name = getattr(published, "hf_hub_id", None)
    return str(name) if name else None


def create(timm: ModuleType, model: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a timm model; unknown options of OPTIONAL are dropped.

    Raises:
        TypeError: the model does not know another option.
        Exception: any error of timm's model families.
    """
    options = dict(options)
    while True:
        try:
            network: nn.Module = timm.create_model(model, pretrained=False, **options)
            return network
        except TypeError as error:
            unknown = [option for option in OPTIONAL if option in options and f"'{option}'" in str(error)]
            if not unknown:
                raise
            options = {key: value for key, value in options.items() if key not in unknown}


def create_extractor(
    timm: ModuleType, model: str, output_stride: int, in_channels: int, drop_path_rate: float = 0.0
) -> nn.Module:
    """Build timm's feature extractor, with free image sizes if the model supports them.

    Raises:
        ConfigError: the model provides no features at that stride, or has no stochastic depth.
    """
    options: dict[str, Any] = {"features_only": True, "in_chans": in_channels, **FREE_SIZE}
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    if output_stride != 32:  # the default of all timm models that support dilation
        options["output_stride"] = output_stride
    try:
        return create(timm, model, options)
    except Exception as error:
        if drop_path_rate and "drop_path_rate" in str(error):
            given = f"backbone.drop_path_rate={drop_path_rate}"
            raise ConfigError(f"{given}: {model} has no stochastic depth: leave it out") from None
        reason = f"timm says: {first_line(error)}" if str(error) else "timm gives no reason"
        raise ConfigError(
            f"backbone.model={model} does not provide features at output_stride={output_stride} ({reason})"
        ) from None


def filter_checkpoint(timm: ModuleType, model: str, state: dict[str, Tensor], whole: nn.Module) -> Mapping[str, Tensor]:
    """Apply timm's checkpoint filter of a model family: it renames old weights and drops obsolete buffers."""
    family = sys.modules[timm.model_entrypoint(model).__module__]
    filter_fn = getattr(family, "checkpoint_filter_fn", None)
    if filter_fn is None:
        return state
    takes_model = len(inspect.signature(filter_fn).parameters) > 1
    filtered: Mapping[str, Tensor] = filter_fn(state, whole) if takes_model else filter_fn(state)
    return filtered


def first_convolutions(whole: nn.Module) -> list[str]:
    """Return the names of the first convolutions' weights, which depend on the image's channels."""
    names = getattr(whole, "pretrained_cfg", {}).get("first_conv") or ()
    return [f"{name}.weight" for name in ([names] if isinstance(names, str) else names)]
