"""Naming schemes of other projects: names that identify each scheme, and translation rules.

Each scheme has one table of rules. They follow the constructors of these projects: timm's and torchvision's ``ResNet``,
mmsegmentation's and mmpretrain's ``ResNet``, ``ResNetV1c`` and ``ResNetV1d`` with ``ASPPHead`` and
``DepthwiseSeparableASPPHead``, PaddleSeg's ``ResNet_vd``, ``DeepLabV3P`` and ``DeepLabV3``, PaddleClas's ``ResNet`` of
both generations. A name without a rule stays unchanged, and loading reports it as unexpected.
"""

import re
from collections.abc import Callable

# parameter names without prefix -> scheme, if all are present
SIGNS = {
    ("bb_0_0.conv0._conv.weight",): "paddle",
    ("res2a.conv0._conv.weight",): "paddle",
    ("blocks.0.conv0.conv.weight",): "paddleclas",
    ("conv1.0.weight", "layer1.0.conv1.weight"): "timm",
    ("conv1.weight", "layer1.0.conv1.weight"): "torchvision",
    ("stem.0.weight", "layer1.0.conv1.weight"): "mmseg",
    ("stages.0.0.conv1.conv.weight",): "segnet",
}

Rule = tuple[str, Callable[[re.Match[str]], str]]  # pattern of a whole foreign name -> segnet's name


def _block_of(letter: str, number: str) -> int:
    """The index of a block from its letter ("c" -> 2), or its number in long stages ("b2" -> 2)."""
    return int(number) if number else ord(letter) - ord("a")


def _triple(place: str) -> str:
    """segnet's name of layer `place` in a Sequential of convolution, norm, ReLU, convolution, ..."""
    return f"stem.{int(place) // 3}.{('conv', 'norm')[int(place) % 3]}"


TORCH_BLOCKS: tuple[Rule, ...] = (
    (r"layer(\d)\.(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.conv{m[3]}.conv.{m[4]}"),
    (r"layer(\d)\.(\d+)\.bn(\d)\.(.+)", lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.conv{m[3]}.norm.{m[4]}"),
    # after _name_downsamples
    (
        r"layer(\d)\.(\d+)\.downsample\.(conv|norm)\.(.+)",
        lambda m: f"stages.{int(m[1]) - 1}.{m[2]}.shortcut.project.{m[3]}.{m[4]}",
    ),
)
BACKBONE_RULES: dict[str, tuple[Rule, ...]] = {
    "torchvision": (
        *TORCH_BLOCKS,
        (r"conv1\.(.+)", lambda m: f"stem.0.conv.{m[1]}"),
        (r"bn1\.(.+)", lambda m: f"stem.0.norm.{m[1]}"),
    ),
    "timm": (
        *TORCH_BLOCKS,
        (r"conv1\.([01346])\.(.+)", lambda m: f"{_triple(m[1])}.{m[2]}"),
        (r"bn1\.(.+)", lambda m: f"stem.2.norm.{m[1]}"),
    ),
    "mmseg": (*TORCH_BLOCKS, (r"stem\.([013467])\.(.+)", lambda m: f"{_triple(m[1])}.{m[2]}")),
    "paddle": (
        (r"conv1_([123])\.(.+)", lambda m: f"stem.{int(m[1]) - 1}.{m[2]}"),
        (r"conv\.(.+)", lambda m: f"stem.0.{m[1]}"),
        (r"bb_(\d)_(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}"),
        (r"bb_(\d)_(\d+)\.short\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.shortcut.project.{m[3]}"),
        # PaddleClas's plain ResNets
        (
            r"res(\d)([a-z])(\d*)\.conv(\d)\.(.+)",
            lambda m: f"stages.{int(m[1]) - 2}.{_block_of(m[2], m[3])}.conv{int(m[4]) + 1}.{m[5]}",
        ),
        (
            r"res(\d)([a-z])(\d*)\.short\.(.+)",
            lambda m: f"stages.{int(m[1]) - 2}.{_block_of(m[2], m[3])}.shortcut.project.{m[4]}",
        ),
    ),
    "paddleclas": (
        (r"stem\.(\d)\.(.+)", lambda m: f"stem.{m[1]}.{m[2]}"),
        # after _number_by_stage
        (r"blocks\.(\d)\.(\d+)\.conv(\d)\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.conv{int(m[3]) + 1}.{m[4]}"),
        (r"blocks\.(\d)\.(\d+)\.short\.(.+)", lambda m: f"stages.{m[1]}.{m[2]}.shortcut.project.{m[3]}"),
    ),
    "segnet": (),
    "unknown": (),
}
DECODER_RULES: tuple[Rule, ...] = (
    # PaddleSeg
    (r"head\.aspp\.aspp_blocks\.(\d)\.(.+)", lambda m: f"decoder.aspp.branches.{m[1]}.{m[2]}"),
    (r"head\.aspp\.global_avg_pool\.1\.(.+)", lambda m: f"decoder.aspp.branches.4.project.{m[1]}"),
    (r"head\.aspp\.conv_bn_relu\.(.+)", lambda m: f"decoder.aspp.project.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu1\.(.+)", lambda m: f"decoder.low_level.{m[1]}"),
    (r"head\.decoder\.conv_bn_relu([23])\.(.+)", lambda m: f"decoder.fuse.{int(m[1]) - 2}.{m[2]}"),
    (r"head\.(?:decoder\.conv|cls)\.(.+)", lambda m: f"decoder.classifier.{m[1]}"),
    # mmsegmentation
    (r"decode_head\.aspp_modules\.(\d)\.(.+)", lambda m: f"decoder.aspp.branches.{m[1]}.{m[2]}"),
    (r"decode_head\.image_pool\.1\.(.+)", lambda m: f"decoder.aspp.branches.4.project.{m[1]}"),
    (r"decode_head\.bottleneck\.(.+)", lambda m: f"decoder.aspp.project.{m[1]}"),
    (r"decode_head\.c1_bottleneck\.(.+)", lambda m: f"decoder.low_level.{m[1]}"),
    (r"decode_head\.sep_bottleneck\.([01])\.(.+)", lambda m: f"decoder.fuse.{m[1]}.{m[2]}"),
    (r"decode_head\.conv_seg\.(.+)", lambda m: f"decoder.classifier.{m[1]}"),
)
# Replacements within a block for every scheme, applied in this order.
PADDLE_PARTS = (
    ("depthwise_conv.", "depthwise."),
    ("piontwise_conv.", "pointwise."),  # PaddleSeg's spelling
    ("pointwise_conv.", "pointwise."),
    ("_conv.", "conv."),
    ("_batch_norm._mean", "norm.running_mean"),
    ("_batch_norm._variance", "norm.running_var"),
    ("_batch_norm.", "norm."),
    ("bn._mean", "norm.running_mean"),
    ("bn._variance", "norm.running_var"),
    ("bn.", "norm."),
)
# classifier on ImageNet: torchvision and timm, PaddleClas of both generations, mmpretrain
CLASSIFIER = re.compile(r"(?:fc|out|head\.fc)\.(weight|bias)")
AUXILIARY = re.compile(r"(auxiliary_head|aux_head|aux_classifier)\..+")
# timm's resnetaa50d, resnetblur50, ...: names and shapes of plain and vd ResNets, but a different computation
ANTI_ALIASED = re.compile(r"resnex?t(aa|blur)\d")
OURS = re.compile(r"(?:backbone\.)?stages\.(\d)\.(\d+)\..+")
