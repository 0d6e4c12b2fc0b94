"""Weight files as other projects write them, from narrow models of theirs, and our model of the same network."""

import pickle
from pathlib import Path

import foreign_resnets as foreign
import pytest
import torch

from segnet.errors import CheckpointError
from segnet.models.backbones.resnet import ResNet
from segnet.weights.load import (
    load_backbone_weights,
)
from segnet.weights.pdparams import BOOKKEEPING


def write(path: Path, arrays: dict) -> Path:
    path.write_bytes(pickle.dumps({**arrays, BOOKKEEPING: {name: f"{name}.w_0" for name in arrays}}, protocol=2))
    return path


def refusal(module: torch.nn.Module, path: Path) -> str:
    """The message with which a file is refused; nothing may have been loaded by then."""
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        load_backbone_weights(module, path)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    return str(error.value)


NARROW = (2, 1, 2, 1)


VD = {"stem": "deep", "shortcut": "pool"}


V1C = {"stem": "deep", "shortcut": "conv"}


PLAIN = {"stem": "conv7x7", "shortcut": "conv"}


GROUPS = {"groups": 2, "base_width": 32}


def torch_resnet(basic, stem, down, **options):
    down = getattr(foreign, f"{down}_downsample")
    return lambda: foreign.TorchResNet(basic, NARROW, stem, down, base=8, num_classes=5, **options)


def paddle_resnet(basic, names, vd, head=None, **options):
    return lambda: foreign.PaddleResNet(basic, NARROW, names, vd, head, base=8, num_classes=5, **options)


def mmpretrain(basic, stem, down):
    backbone = torch_resnet(basic, stem, down, fc=False)
    return lambda: foreign.ImageClassifier(backbone(), 64 if basic else 256, num_classes=5)


FOREIGN = {
    "timm basic d": (torch_resnet(True, "timm", "timm"), True, VD),
    "timm d": (torch_resnet(False, "timm", "timm"), False, VD),
    "timm resnext d": (torch_resnet(False, "timm", "timm", **GROUPS), False, VD | GROUPS),
    "timm c": (torch_resnet(False, "timm", "conv"), False, V1C),
    "torchvision basic": (torch_resnet(True, "plain", "conv"), True, PLAIN),
    "torchvision": (torch_resnet(False, "plain", "conv"), False, PLAIN),
    "torchvision resnext": (torch_resnet(False, "plain", "conv", **GROUPS), False, PLAIN | GROUPS),
    "mmseg v1c basic": (torch_resnet(True, "mm", "conv"), True, V1C),
    "mmseg v1c": (torch_resnet(False, "mm", "conv"), False, V1C),
    "mmseg v1d basic": (torch_resnet(True, "mm", "mmseg"), True, VD),
    "mmseg v1d": (torch_resnet(False, "mm", "mmseg", fc=False), False, VD),
    "mmpretrain v1d": (mmpretrain(False, "mm", "mmpretrain"), False, VD),
    "mmpretrain": (mmpretrain(False, "plain", "conv"), False, PLAIN),
    "paddleseg vd": (paddle_resnet(False, "bb", True), False, VD),
    "paddleseg basic vd": (paddle_resnet(True, "bb", True), True, VD),
    "paddleclas 1 vd": (paddle_resnet(False, "bb", True, "out"), False, VD),
    "paddleclas 1": (paddle_resnet(False, "res", False, "out"), False, PLAIN),
    "paddleclas resnext": (paddle_resnet(False, "bb", False, "out", groups=2, width=1), False, PLAIN | GROUPS),
    "paddleclas 2 vd": (paddle_resnet(True, "blocks", True, "fc"), True, VD),
    "paddleclas 2": (paddle_resnet(False, "blocks", False, "fc"), False, PLAIN),
}


def theirs(name: str) -> torch.nn.Module:
    return foreign.randomize(FOREIGN[name][0]())


def our(name: str, **changes) -> ResNet:
    torch.manual_seed(1)
    _, basic, options = FOREIGN[name]
    block = "basic" if basic else "bottleneck"
    narrow = {"depths": NARROW, "block": block, "output_stride": 32, "base_channels": 8, "stem_channels": 8}
    return ResNet(**{**narrow, **options, **changes}).eval()


def file_of(model: torch.nn.Module, name: str, folder: Path) -> Path:
    """As the project would write it."""
    if name.startswith("paddle"):
        return write(folder / "a.pdparams", {key: value.numpy() for key, value in model.state_dict().items()})
    content = {"meta": {}, "state_dict": model.state_dict()} if name.startswith("mm") else model.state_dict()
    torch.save(content, folder / "a.pth")
    return folder / "a.pth"
