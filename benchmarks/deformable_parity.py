"""Does the deformable convolution compute what torchvision's operator computes, with the same gradients?

    python benchmarks/deformable_parity.py

It needs a torchvision of the build of torch, for example in the environment of peer.py, and says so without one.
"""

import importlib

import torch
from torch.nn import functional as F

from segnet.models.backbones.resnet.deformable import DeformableConv, deformed_columns

CONVOLUTIONS: tuple[dict[str, int], ...] = (
    {},
    {"stride": 2, "padding": 1},
    {"padding": 2, "dilation": 2, "groups": 2},
    {"padding": 1, "groups": 4, "deform_groups": 2},
    {"stride": 2, "padding": 3, "dilation": 3, "deform_groups": 4},
)
LEAST = {torch.float64: 1e-12, torch.float32: 1e-5}  # allowed difference, relative to the largest value


def difference(options: dict[str, int], dtype: torch.dtype) -> float:
    """Largest difference of the result and of its five gradients, relative to the largest value of each."""
    torch.manual_seed(0)
    conv = DeformableConv(8, 16, 3, **options).to(dtype)
    x = torch.randn(2, 8, 13, 17, dtype=dtype)
    taps = 9 * conv.deform_groups
    offsets = 2 * torch.randn(2, 2 * taps, *conv(x).shape[2:], dtype=dtype)  # many samples lie outside the image
    modulation = 2 * torch.rand(2, taps, *offsets.shape[2:], dtype=dtype)
    assert conv.bias is not None
    inputs = [value.detach().requires_grad_() for value in (x, conv.weight, offsets, modulation, conv.bias)]
    columns = deformed_columns(
        *(inputs[0], inputs[2], inputs[3]),
        kernel_size=conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
    )
    ours = F.conv2d(columns, inputs[1].flatten(1)[:, :, None, None], inputs[4], groups=conv.groups)
    places = (*conv.stride, *conv.padding, *conv.dilation, conv.groups, conv.deform_groups, True)
    plain = [value.detach() for value in inputs]
    theirs = torch.ops.torchvision.deform_conv2d(*plain, *places)
    gradient = torch.randn_like(theirs)
    our_gradients = torch.autograd.grad(ours, inputs, gradient)
    their_gradients = torch.ops.torchvision._deform_conv2d_backward(gradient, *plain, *places)
    pairs = zip((ours.detach(), *our_gradients), (theirs, *their_gradients), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def main() -> None:
    """Print a row for each convolution; exit with 1 if one differs."""
    try:
        importlib.import_module("torchvision")
        _ = torch.ops.torchvision.deform_conv2d
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        print(f"not compared: no torchvision that fits torch {torch.__version__} ({error})")
        return
    failed = False
    for options in CONVOLUTIONS:
        for dtype, allowed in LEAST.items():
            found = difference(options, dtype)
            failed |= found > allowed
            print(f"{options} {dtype}: largest relative difference {found:.1e}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
