"""Strided 1x1 convolutions against torch's float64 convolutions, and where they are used."""

import pytest
import torch
from torch import nn

from segnet.models.segmentation_model import SegmentationModel
from segnet.models.strided_pointwise import StridedPointwiseConv, slice_strided_pointwise


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (80, 80)])
@pytest.mark.parametrize("stride", [2, (1, 3)])
@pytest.mark.parametrize(("groups", "bias"), [(1, False), (4, True)])
def test_values_and_gradients_match_those_of_the_convolution(size, stride, groups, bias):
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 16, 1, stride=stride, groups=groups, bias=bias)
    model = nn.Sequential(nn.Conv2d(8, 16, 1, stride=stride, groups=groups, bias=bias))
    model[0].load_state_dict(plain.state_dict())
    slice_strided_pointwise(model)
    assert type(model[0]) is StridedPointwiseConv
    x = torch.randn(1, 8, *size).to(memory_format=torch.channels_last)
    found, expected = [], []
    for conv, image, results in ((model, x, found), (plain.double(), x.double(), expected)):
        image = image.requires_grad_()
        output = conv(image)
        weights = torch.arange(output.numel(), dtype=output.dtype).view(output.shape).sin()
        results += [output.detach(), *torch.autograd.grad(output, [image, *conv.parameters()], weights)]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-4)


def test_only_narrow_strided_shortcuts_of_a_resnet_are_replaced():
    """The first strided stage has 8 input channels, the second 16."""
    for shortcut, number in {"pool": 0, "conv": 1}.items():
        model = SegmentationModel(
            backbone={
                "name": "resnet",
                "block": "basic",
                "depths": [1, 1, 1, 1],
                "shortcut": shortcut,
                "base_channels": 8,
                "output_stride": 16,
            },
            decoder={"name": "deeplabv3", "output_stride": 16, "aspp_channels": 8},
            num_classes=2,
            mean=[0.5] * 3,
            std=[0.5] * 3,
        )
        assert sum(isinstance(layer, StridedPointwiseConv) for layer in model.modules()) == number
