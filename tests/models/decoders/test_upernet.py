import pytest
import torch
from exported import assert_export_equals_model
from tiny import components
from torch.nn import functional as F

from segnet.errors import ConfigError
from segnet.models.auxiliary import FCNHead
from segnet.models.decoders.upernet import GridPooling, UPerNet
from segnet.models.segmentation_model import SegmentationModel

CHANNELS = (3, 4, 5, 6)


def decoder(**options) -> UPerNet:
    torch.manual_seed(0)
    return UPerNet(CHANNELS, (4, 8, 16, 32), 7, **{"decoder_channels": 8, **options}).eval()


def model(output_stride: int) -> SegmentationModel:
    torch.manual_seed(0)
    parts = {
        "backbone": components(output_stride)["backbone"] | {"base_channels": 8, "stem_channels": 8},
        "decoder": {"name": "upernet", "decoder_channels": 8},
    }
    return SegmentationModel(**parts, num_classes=3, mean=[0.5] * 3, std=[0.5] * 3)


def test_with_convnext_tiny_it_has_the_published_60_million_parameters():
    """mmsegmentation's upernet_convnext_tiny on ADE20K, which counts its auxiliary head."""
    convnext_tiny = 28_589_128 - 769_000 - 2 * 768  # torchvision's and timm's, without the classifier and its norm
    with torch.device("meta"):
        heads = [UPerNet((96, 192, 384, 768), (4, 8, 16, 32), 150), FCNHead((96, 192, 384, 768), 150)]
    total = convnext_tiny + sum(parameter.numel() for head in heads for parameter in head.parameters())
    assert total == 60_239_756


@pytest.mark.parametrize("align_corners", [False, True])
def test_logits_match_the_layout_of_the_paper(align_corners):
    """The decoder's convolutions, connected by hand as in figure 4 of arXiv 1807.10221, with torch's pooling."""
    net = decoder(align_corners=align_corners).double()
    sizes = [(17, 25), (9, 13), (5, 7), (3, 4)]
    features = [torch.randn(2, width, *size, dtype=torch.float64) for width, size in zip(CHANNELS, sizes, strict=True)]

    def resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return F.interpolate(x, size, mode="bilinear", align_corners=align_corners)

    pooled = [
        resized(branch.project(F.adaptive_avg_pool2d(features[3], scale)), sizes[3])
        for branch, scale in zip(net.pyramid, (1, 2, 3, 6), strict=True)
    ]
    level4 = net.top(torch.cat([features[3], *pooled], 1))
    level3 = net.laterals[2](features[2]) + resized(level4, sizes[2])
    level2 = net.laterals[1](features[1]) + resized(level3, sizes[1])
    level1 = net.laterals[0](features[0]) + resized(level2, sizes[0])
    smooth = [conv(level) for conv, level in zip(net.smooth, (level1, level2, level3), strict=True)]
    joined = torch.cat([resized(level, sizes[0]) for level in (*smooth, level4)], 1)
    expected = net.classifier(net.fuse(joined))
    torch.testing.assert_close(net(features), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 7), (13, 16)])
@pytest.mark.parametrize("scale", [1, 2, 3, 6])
def test_cells_are_those_of_adaptive_pooling(size, scale):
    pooling = GridPooling(2, 2, scale).double().eval()
    pooling.project = torch.nn.Identity()
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    torch.testing.assert_close(pooling(x), F.adaptive_avg_pool2d(x, scale), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("output_stride", [8, 16, 32])
@pytest.mark.parametrize("size", [(1, 1), (33, 97), (64, 50)])
@torch.no_grad()
def test_logits_have_the_size_of_the_images(output_stride, size):
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    logits = model(output_stride).eval()(images)
    assert logits.shape == (2, 3, *size)
    assert logits.isfinite().all()


def test_every_weight_learns_from_a_batch_of_one_image():
    net = model(32).train()
    net(torch.randint(0, 256, (1, 3, 70, 50), dtype=torch.uint8)).square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for name, parameter in net.named_parameters() if name.endswith("weight"))


@pytest.mark.parametrize("format", ["onnx", "openvino", "pt2"])
@torch.no_grad()
def test_exports_give_the_same_logits(format, tmp_path):
    net = model(32).eval()
    assert_export_equals_model(net, ["a", "b", "c"], format, tmp_path, sizes=((1, 65, 97), (2, 224, 33), (1, 3, 5)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"decoder_channels": 0}, "decoder.decoder_channels=0 must be a number of channels"),
        ({"pool_scales": []}, "decoder.pool_scales=[] must be sides of grids, each 1-64"),
        ({"pool_scales": [1, 0]}, "decoder.pool_scales=[1, 0] must be"),
        ({"dropout": 1.0}, "decoder.dropout=1.0 must be a probability"),
    ],
)
def test_impossible_options_are_refused(options, words):
    with pytest.raises(ConfigError) as error:
        decoder(**options)
    assert words in str(error.value)
