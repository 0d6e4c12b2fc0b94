"""Any model of timm that serves features at the asked stride: Res2Net, ResNeSt, RegNet, ConvNeXt, Swin, ...

Source: PyTorch Image Models (https://github.com/huggingface/pytorch-image-models), an optional package that is imported
only where such a backbone is built. It differs from timm's feature extractors in that features finer than stride 4 are
left out, that they are always (B, C, H, W), and that images of any size are taken: a model whose sizes do not round
up gets its images padded with the mean color, and the features cut back.
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
from segnet.models.layers import require_output_stride

FINEST_STRIDE = 4  # of the features that decoders take as low-level ones
# Options with which timm's transformers accept other image sizes than those of their training.
FREE_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
# Asked of every model; what a model does not know is left out, and what it then gives is checked.
WISHES = ("output_stride", *FREE_SIZE)


class TimmBackbone(nn.Module):
    """A model of timm without its classifier; see `segnet.models.backbones` for the contract.

    Args:
        model: timm's name of the architecture ("regnety_008"), without the tag of a set of weights.
        output_stride: stride of the last features [pixels].
        in_channels: of the images.

    Attributes:
        net: timm's feature extractor, with timm's names of weights as it renames them.

    Raises:
        MachineError: timm is not installed.
        ConfigError: an unknown model, or one that cannot give features at that stride.
    """

    def __init__(self, model: str, output_stride: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        require_output_stride(output_stride)
        if in_channels < 1:
            raise ConfigError(f"backbone.in_channels={in_channels} is not a number of channels, 1 or more")
        timm = import_timm()
        check_name(timm, model)
        self.model = model
        self.in_channels = in_channels
        self.net = create_extractor(timm, model, output_stride, in_channels)
        info: Any = self.net.feature_info
        strides = info.reduction()
        if strides[-1] != output_stride:
            way = f": choose output_stride={strides[-1]}" if strides[-1] in OUTPUT_STRIDES else ""
            raise ConfigError(
                f"backbone.model={model} cannot give output_stride={output_stride}, "
                f"its features end at stride {strides[-1]}{way}"
            )
        self.first = next(i for i, stride in enumerate(strides) if stride >= FINEST_STRIDE)
        self.strides = tuple(strides[self.first :])
        self.channels = tuple(info.channels()[self.first :])
        self.channels_last = str(getattr(self.net, "output_fmt", "")).endswith("NHWC")
        self.pads = self._must_pad()

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, in_channels, H, W), float, normalized -> the features from stride 4 on."""
        height, width = images.shape[2:]
        if not self.pads:
            return self._features(images)
        stride = self.strides[-1]
        # Zero is the mean color of normalized images.
        features = self._features(F.pad(images, (0, -width % stride, 0, -height % stride)))
        return [
            feature[:, :, : -(-height // stride), : -(-width // stride)]
            for feature, stride in zip(features, self.strides, strict=True)
        ]

    def _features(self, images: Tensor) -> list[Tensor]:
        features = list(self.net(images))[self.first :]
        return [feature.permute(0, 3, 1, 2) for feature in features] if self.channels_last else features

    @torch.no_grad()
    def _must_pad(self) -> bool:
        """Try whether sizes round up without padding, or at least where the output stride divides them.

        Raises:
            ConfigError: neither, or the channels and strides are not those that timm declares.
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
        """The stem and the stages in the order of the forward; None where timm's extractor does not tell them."""
        last_of_stage = list(getattr(self.net, "return_layers", {}))[self.first :]
        if not last_of_stage:
            return None
        parts: list[list[nn.Module]] = [[]]
        stages_ended = 0
        for name, child in self.net.named_children():
            if stages_ended == 0 and name == last_of_stage[0]:
                parts.append([])  # what comes before it is the stem
            parts[-1].append(child)
            if name in last_of_stage:
                stages_ended += 1
                if stages_ended < len(last_of_stage):
                    parts.append([])
        return [nn.ModuleList(part) for part in parts]

    def load_pretrained(self, state: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
        """Load weights by timm's names, as its hub has them, of the whole model; the classifier is not used.

        Nothing is loaded unless everything fits. A first convolution of another number of channels is adapted.

        Returns:
            Names of the weights that are missing, and of those that the model does not know; a weight of another
            shape is in both.
        """
        timm = import_timm()
        # The whole model tells which names belong behind the features, and timm's filters take it.
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
        """The extractor's names -> the whole model's: "stages_0.blocks..." -> "stages.0.blocks..."."""
        names = {}
        for ours in self.net.state_dict():
            without_wrapper = ours.partition(".")[2]
            split = [ours[:i] + "." + ours[i + 1 :] for i, letter in enumerate(ours) if letter == "_"]
            names[ours] = next((name for name in (ours, without_wrapper, *split) if name in known), ours)
        return names


def import_timm() -> ModuleType:
    """The package timm.

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
                f"torchvision does not match torch {torch.__version__}: install the torchvision of that release from "
                "where torch came, or segnet in an environment of its own"
            )
        else:
            way = "install it again, or segnet in an environment of its own"
        raise MachineError(f"backbone.name=timm: timm cannot be imported ({reason}): {way}") from None


def check_name(timm: ModuleType, model: str) -> None:
    """Refuse what is not the plain name of an architecture: timm would download what "hf-hub:..." names.

    Raises:
        ConfigError: with the nearest names.
    """
    architecture, dot, _ = model.partition(".")
    if timm.is_model(architecture):  # it ignores a tag
        if not dot:
            return
        raise ConfigError(
            f"backbone.model={model} names weights as well: write backbone.model={architecture} "
            f"backbone_weights=timm/{model}"
        )
    names = timm.list_models()
    near = difflib.get_close_matches(model, names, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all names"
    raise ConfigError(f"backbone.model={model} is unknown to timm {timm.__version__}: {hint}")


def create(timm: ModuleType, model: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a model of timm; WISHES that it does not know are left out.

    Raises:
        TypeError: it does not know another of the options.
        Exception: of any kind, as each family of timm has it.
    """
    options = dict(options)
    while True:
        try:
            network: nn.Module = timm.create_model(model, pretrained=False, **options)
            return network
        except TypeError as error:
            unknown = [wish for wish in WISHES if wish in options and f"'{wish}'" in str(error)]
            if not unknown:
                raise
            options = {key: value for key, value in options.items() if key not in unknown}


def create_extractor(timm: ModuleType, model: str, output_stride: int, in_channels: int) -> nn.Module:
    """Build timm's feature extractor, with free sizes of images where the model has them.

    Raises:
        ConfigError: the model gives no features, or not at that stride.
    """
    options = {"features_only": True, "in_chans": in_channels, **FREE_SIZE}
    if output_stride != 32:  # what all of timm's models that can be dilated end at
        options["output_stride"] = output_stride
    try:
        return create(timm, model, options)
    except Exception as error:
        reason = f"timm says: {first_line(error)}" if str(error) else "timm gives no reason"
        raise ConfigError(
            f"backbone.model={model} cannot give features at output_stride={output_stride} ({reason})"
        ) from None


def filter_checkpoint(timm: ModuleType, model: str, state: dict[str, Tensor], whole: nn.Module) -> Mapping[str, Tensor]:
    """What timm does to the weights of a family before it loads them: old names, buffers that are no longer stored."""
    family = sys.modules[timm.model_entrypoint(model).__module__]
    filter_fn = getattr(family, "checkpoint_filter_fn", None)
    if filter_fn is None:
        return state
    takes_model = len(inspect.signature(filter_fn).parameters) > 1
    filtered: Mapping[str, Tensor] = filter_fn(state, whole) if takes_model else filter_fn(state)
    return filtered


def first_convolutions(whole: nn.Module) -> list[str]:
    """Names of the weights that take the image."""
    names = getattr(whole, "pretrained_cfg", {}).get("first_conv") or ()
    return [f"{name}.weight" for name in ([names] if isinstance(names, str) else names)]
