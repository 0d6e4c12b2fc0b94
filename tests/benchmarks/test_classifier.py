"""ImageNetClassifier: normalization, mean of features, and a linear layer, also with Paddle's weights."""

import re

import pytest
import torch
from classifier import ImageNetClassifier

from segnet.errors import CheckpointError, ConfigError
from segnet.models.backbones.resnet import ResNet
from segnet.weights.load import load_backbone_weights
from segnet.weights.names import Weights, translate_backbone

TINY = {"name": "resnet", "block": "basic", "depths": [1, 1, 1, 1], "output_stride": 32, "base_channels": 4}
TINY |= {"stem_channels": 4}
PLAIN = {"name": "resnet", "output_stride": 32, "stem": "conv7x7", "shortcut": "conv"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def classifier(num_classes: int = 7, **options: object) -> ImageNetClassifier:
    torch.manual_seed(0)
    return ImageNetClassifier(backbone=TINY, mean=MEAN, std=STD, num_classes=num_classes, **options).eval()


@pytest.mark.parametrize(
    ("spec", "num_parameters"),
    [
        ({**PLAIN, "block": "basic", "depths": [2, 2, 2, 2]}, 11_689_512),
        ({**PLAIN, "depths": [3, 4, 6, 3]}, 25_557_032),
    ],
)
def test_the_number_of_parameters_matches_the_publication(spec, num_parameters):
    with torch.device("meta"):
        model = ImageNetClassifier(backbone=spec, mean=MEAN, std=STD)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters


@torch.inference_mode()
def test_logits_are_linear_in_the_mean_features():
    model = classifier()
    images = torch.randint(0, 256, (2, 3, 70, 45), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    last = model.backbone((images / 255 - mean) / std)[-1]
    assert last.shape == (2, 32, 3, 2)
    pooled = last.sum(dim=(2, 3)) / 6
    expected = pooled @ model.head.weight.T + model.head.bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


def paddle_name(name: str) -> str:
    """Our names -> those of PaddleSeg's ResNet_vd, which PaddleClas wrote in its first generation."""
    name = re.sub(r"^stem\.(\d)\.", lambda m: f"conv1_{int(m[1]) + 1}.", name)
    name = re.sub(r"^stages\.(\d)\.(\d+)\.conv(\d)\.", lambda m: f"bb_{m[1]}_{m[2]}.conv{int(m[3]) - 1}.", name)
    name = re.sub(r"^stages\.(\d)\.(\d+)\.shortcut\.project\.", r"bb_\1_\2.short.", name)
    name = name.replace("conv.weight", "_conv.weight").replace("norm.", "_batch_norm.")
    return name.replace("running_mean", "_mean").replace("running_var", "_variance")


@torch.inference_mode()
def test_paddles_linear_layer_is_transposed():
    torch.manual_seed(1)
    trained = ResNet(**{key: value for key, value in TINY.items() if key != "name"}).eval()
    theirs = {paddle_name(name): value for name, value in trained.state_dict().items() if "num_batches" not in name}
    weight, bias = torch.randn(32, 7), torch.randn(7)  # (in, out)
    theirs |= {"out.weight": weight, "out.bias": bias}
    weights = Weights("w.pdparams", "paddle", theirs)

    model = classifier()
    _, head = translate_backbone(weights, TINY["depths"])
    load_backbone_weights(model.backbone, weights)
    model.load_head(head, weights.source)

    images = torch.randint(0, 256, (2, 3, 40, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    expected = trained((images / 255 - mean) / std)[-1].mean((2, 3)) @ weight + bias
    torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({}, "w.pth: has no linear layer for ImageNet's classes"),
        ({"weight": torch.zeros(7, 32)}, "w.pth: has no linear layer"),
        ({"weight": torch.zeros(7, 31), "bias": torch.zeros(7)}, "weight of its linear layer is [7, 31] in the file"),
        ({"weight": torch.zeros(7, 32), "bias": torch.zeros(8)}, "bias of its linear layer is [8] in the file and [7]"),
    ],
)
def test_a_mismatched_linear_layer_is_refused(head, words):
    model = classifier()
    before = model.head.weight.clone()
    with pytest.raises(CheckpointError) as caught:
        model.load_head(head, "w.pth")
    assert words in str(caught.value)
    assert torch.equal(model.head.weight, before)


def test_normalization_must_match_the_channels():
    with pytest.raises(ConfigError, match=r"mean=\[0.5\] has 1 values, but backbone.in_channels=3"):
        ImageNetClassifier(backbone=TINY, mean=[0.5], std=STD)
