import pytest
import torch
from torch import nn

from segnet.components import build
from segnet.errors import ConfigError
from segnet.models.auxiliary import AUXILIARY_HEADS, FCNHead

CHANNELS = (4, 8, 16, 32)


def features() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, channels, 9, 7, generator=generator) for channels in CHANNELS]


def test_fcn_head_matches_mmsegmentation_s_layers():
    """Reference: the layers of mmsegmentation's FCNHead with num_convs=1 and concat_input=False."""
    torch.manual_seed(0)
    head = FCNHead(CHANNELS, 5, channels=6).eval()
    nn.init.uniform_(head.conv.norm.running_mean)
    x = torch.nn.functional.conv2d(features()[2], head.conv.conv.weight, padding=1)
    mean, var = head.conv.norm.running_mean[:, None, None], head.conv.norm.running_var[:, None, None]
    x = ((x - mean) / (var + 1e-5).sqrt()).relu()
    x = torch.nn.functional.conv2d(x, head.classifier.weight, head.classifier.bias)
    torch.testing.assert_close(head(features()), x)


def test_only_the_chosen_stage_is_used():
    head = FCNHead(CHANNELS, 3, stage=2).eval()
    assert head.conv.conv.in_channels == 8
    changed = features()
    for index in (0, 2, 3):
        changed[index] += 1
    assert torch.equal(head(features()), head(changed))


def test_the_head_uses_the_chosen_norm():
    head = FCNHead(CHANNELS, 3, channels=8, norm={"name": "group", "groups": 4})
    assert isinstance(head.conv.norm, nn.GroupNorm)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": 0}, r"auxiliary_head\.stage=0: the backbone has stages 1 to 4"),
        ({"stage": 5}, r"auxiliary_head\.stage=5"),
        ({"weight": -0.1}, r"auxiliary_head\.weight=-0\.1"),
        ({"channels": 0}, r"auxiliary_head\.channels=0"),
        ({"dropout": 1.0}, r"auxiliary_head\.dropout=1\.0"),
        ({"chanels": 1}, r"auxiliary_head\.chanels is not an option .*Did you mean 'channels'"),
        ({"name": "fnc"}, r"auxiliary_head\.name=fnc is unknown\. Did you mean 'fcn'"),
    ],
)
def test_impossible_values_are_refused(options, message):
    spec = {"name": "fcn", **options}
    with pytest.raises(ConfigError, match=message):
        build("auxiliary_head", AUXILIARY_HEADS, spec, backbone_channels=CHANNELS, num_classes=3)
