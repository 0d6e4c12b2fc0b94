"""The proof of an export: its outputs equal the checkpoint's, at several image sizes and in batches.

An image is compared with the result of the model for this image alone, so that no result may depend on others.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.errors import CheckpointError
from segnet.inference.decisions import Decision, decision_of
from segnet.models.metadata import Metadata

SIZES = ((1, 128, 192), (1, 97, 255), (1, 225, 161), (1, 3, 5))  # batch, height, width
# The images of each batch, as indices of BATCHED. An engine may choose other kernels for a larger batch, or by the
# place of an image in it: equal images then get different results.
BATCHED = (3, 33, 47)
BATCHES = ((0,), (0, 0), (0, 1, 2, 1, 0))
LEAST_AGREEMENT = 0.9999


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of an export with its model, on images of one size.

    Attributes:
        size: batch, height, width.
        error: largest absolute difference of the logits; None if the export returns class ids.
        largest: largest absolute logit of the model.
        agreement: fraction of pixels with the same class, or of planes' pixels with the same value, 0-1.
    """

    size: tuple[int, int, int]
    error: float | None
    largest: float
    agreement: float

    def __str__(self) -> str:
        batch, height, width = self.size
        error = "" if self.error is None else f"largest error {self.error:.1e} of {self.largest:.1f}, "
        return f"{batch} x {height} x {width}: {error}argmax agreement {100 * self.agreement:.3f}%"


def require_equal(
    model: nn.Module, run: Callable[[Tensor], Tensor], metadata: Metadata, report: Callable[[object], None]
) -> None:
    """Compare an export with its model at SIZES, and for images of one size in BATCHES.

    Raises:
        CheckpointError: at some size the fraction of pixels with the same class is below LEAST_AGREEMENT.
    """
    alone = _one_by_one(torch.inference_mode()(model))
    for images in example_images(metadata.channels):
        comparison = compare_outputs(alone, run, images, metadata.output, decision_of(metadata.classes))
        report(comparison)
        if not comparison.agreement >= LEAST_AGREEMENT:
            raise CheckpointError(
                f"the export's results differ from the checkpoint's ({comparison}; {100 * LEAST_AGREEMENT:g}% "
                "is required): nothing was written. Please report it"
            )


def require_same_in_batches(run: Callable[[Tensor], Tensor], metadata: Metadata) -> None:
    """Compare an export with itself: images in BATCHES with the same images alone.

    Raises:
        CheckpointError: the results of an image depend on its batch.
    """
    for images in batched_images(metadata.channels):
        comparison = compare_outputs(_one_by_one(run), run, images, metadata.output, decision_of(metadata.classes))
        if not comparison.agreement >= LEAST_AGREEMENT:
            raise CheckpointError(
                f"the export's results for an image depend on its batch ({comparison}; {100 * LEAST_AGREEMENT:g}% "
                "is required): nothing was written. Please report it"
            )


def compare_outputs(
    model: Callable[[Tensor], Tensor],
    run: Callable[[Tensor], Tensor],
    images: Tensor,
    output_kind: str,
    decision: Decision,
) -> Comparison:
    """Compare model and export on images (B, C, H, W), uint8."""
    expected, given = model(images), run(images)
    masks = [decision.masks(decision.scores(logits)) for logits in (expected, given)]
    agreement = (masks[0] == masks[1]).double().mean().item()
    error = (expected - given).abs().max().item() if output_kind == "logits" else None
    batch, _, height, width = images.shape
    return Comparison((batch, height, width), error, expected.abs().max().item(), agreement)


def example_images(channels: int) -> Iterator[Tensor]:
    """Yield images of SIZES and BATCHES: smooth colors and a little noise, so that masks have regions as in photos."""
    generator = torch.Generator().manual_seed(0)
    for size in SIZES:
        yield _smooth_images(channels, size, generator)
    yield from batched_images(channels)


def batched_images(channels: int) -> Iterator[Tensor]:
    """Yield the images of BATCHES."""
    some = _smooth_images(channels, BATCHED, torch.Generator().manual_seed(1))
    for indices in BATCHES:
        yield some[list(indices)]


def _smooth_images(channels: int, size: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    batch, height, width = size
    coarse = torch.rand(batch, channels, 5, 7, generator=generator) * 255
    smooth = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    noise = 8 * torch.randn(smooth.shape, generator=generator)
    return (smooth + noise).round().clamp(0, 255).to(torch.uint8)


def _one_by_one(model: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The model without batches: the result of an image cannot depend on others."""
    return lambda images: torch.cat([model(image[None]) for image in images])
