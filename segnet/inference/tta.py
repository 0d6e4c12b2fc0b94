"""Inference: a model's predictions over flips, scales and overlapping windows, the same for predicting and measuring.

What is averaged are probabilities, as PSPNet (arXiv 1612.01105) and DeepLab (arXiv 1606.00915) do over scales and
flips. Windows are blended likewise: that is one more mean over predictions of the same pixel, in which a window with
large logits says no more than "certain". A window's weights fall linearly towards its ends, so that no seam shows, and
add up to 1 with those of its neighbors. Test-time augmentation is applied to each window, not to the whole image.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from segnet.choices import DEFAULT_WINDOW
from segnet.errors import ConfigError
from segnet.images.windows import Mosaic, Piece, Window

Model = Callable[[Tensor], Tensor]  # images (B, channels, H, W), 0-255 -> logits (B, classes, H, W), to be overwritten
Read = Callable[[Window], Tensor]  # -> (channels, h, w), 0-255, on the model's device
Write = Callable[[Window, Tensor], None]  # probabilities (classes, h, w)
T = TypeVar("T")
MAX_PIXELS = 2_500_000  # of the largest image that is predicted whole by default
AT_ONCE = 2**22  # scores that are looked through at a time
IN_CACHE = 2**18  # scores of which a processor's cache holds some copies
LANES = 16  # from as many classes on, torch's softmax is fast along values that lie side by side


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """How predictions are made of an image.

    Attributes:
        flip: whether the mirrored image is predicted too.
        scales: factors on the image's size; each is predicted.
        window: the side of the windows into which larger images are cut [pixels]; None: images are predicted whole.
        overlap: the share of a window that the next one repeats at least, 0-0.9.
        batch_size: how many windows share a pass.

    Raises:
        ConfigError: an option out of its range.
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)
    window: int | None = None
    overlap: float = 0.25
    batch_size: int = 1

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale < math.inf for scale in self.scales):
            raise ConfigError(f"scales={list(self.scales)} must be one or more factors above 0, such as [0.5, 1.0]")
        if self.window is not None and self.window < 1:
            raise ConfigError(f"window={self.window} must be 1 or more pixels, or null")
        if not 0 <= self.overlap <= 0.9:
            raise ConfigError(f"overlap={self.overlap} must be a share of a window, 0 to 0.9")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size} must be 1 or more")

    @property
    def is_plain(self) -> bool:
        """Whether images of the windows' size have one prediction, so that their logits need no averaging."""
        return not self.flip and list(self.scales) == [1]

    @torch.inference_mode()
    def __call__(self, model: Model, images: Tensor) -> Tensor:
        """Images (B, channels, H, W), 0-255 -> probabilities (B, classes, H, W), all in memory."""
        if self.window is None or max(images.shape[2:]) <= self.window:
            return self.averaged(model, images)
        return torch.stack([self._slide_in_memory(model, image) for image in images])

    @torch.inference_mode()
    def averaged(self, model: Model, images: Tensor) -> Tensor:
        """Whole images (B, channels, H, W) -> probabilities (B, classes, H, W), the mean over flips and scales."""
        passes = [(scale, mirrored) for scale in self.scales for mirrored in ((False, True) if self.flip else (False,))]
        total = _view_probabilities(model, images, *passes[0])
        for scale, mirrored in passes[1:]:
            total += _view_probabilities(model, images, scale, mirrored)
        return total if len(passes) == 1 else total.div_(len(passes))

    @torch.inference_mode()
    def slide(self, model: Model, size: tuple[int, int], read: Read, write: Write) -> None:
        """Predict an image window by window; neither it nor its probabilities need to fit in memory.

        Args:
            size: (height, width) [pixels].
            read: gives a window of the image; a window may be asked for twice.
            write: takes the probabilities of a part once they are complete, in memory that is used again afterwards;
                the parts cover every pixel once.
        """
        mosaic = Mosaic(size, self.window or max(size), self.overlap)
        waiting: dict[Window, Tensor] = {}
        for batch in _batches(mosaic, self.batch_size):
            # in functions of their own, so that nothing of a batch is kept while the next one is predicted
            _blend(mosaic, batch, self.averaged(model, _stack(batch, read)), waiting, write)
        assert not waiting

    def _slide_in_memory(self, model: Model, image: Tensor) -> Tensor:
        height, width = image.shape[1:]
        result: Tensor | None = None

        def write(place: Window, part: Tensor) -> None:
            nonlocal result
            result = part.new_empty(len(part), height, width) if result is None else result
            result[:, *place.within()] = part

        self.slide(model, (height, width), lambda window: image[:, *window.within()], write)
        assert result is not None
        return result

    def for_size(self, size: Sequence[int]) -> "Inference":
        """The same with the windows that a prediction takes by default: of large images (height, width) only."""
        if self.window is not None or math.prod(size) <= MAX_PIXELS:
            return self
        return self.with_window(DEFAULT_WINDOW)

    def with_window(self, window: int | None, batch_size: int | None = None) -> "Inference":
        """The same with windows of another side, and as many of them in a pass as is said."""
        return replace(self, window=window, batch_size=batch_size or self.batch_size)


def argmax_classes(scores: Tensor) -> Tensor:
    """The class of the highest score, the first of equals: (..., classes, H, W) -> (..., H, W), int64.

    NaN counts as highest, whatever its class. On a CPU, torch's argmax over planes, as exported models give them, takes
    five to ten times as long.
    """
    if scores.device.type != "cpu" or scores.stride(-3) == 1:
        return scores.argmax(dim=-3)
    rows = max(1, AT_ONCE // (scores.shape[-3] * scores.shape[-1]))
    return torch.cat([_ids_of_planes(part) for part in scores.split(rows, dim=-2)], dim=-2)


def _ids_of_planes(scores: Tensor) -> Tensor:
    classes = scores.shape[-3]
    ranks = torch.arange(classes, 0, -1, dtype=torch.uint8 if classes < 256 else torch.int16)[:, None, None]
    is_best = (scores < scores.amax(dim=-3, keepdim=True)).logical_not_()  # as `==`, but NaN is among the best
    return classes - (is_best * ranks).amax(dim=-3).long()


def rescale_images(images: Tensor, scale: float) -> Tensor:
    """Images (B, channels, H, W) at another size, in their dtype; bilinear, as training resizes its images."""
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    values = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
    return values if images.is_floating_point() else values.round().to(images.dtype)


def _view_probabilities(model: Model, images: Tensor, scale: float, mirrored: bool) -> Tensor:
    seen = rescale_images(images, scale)
    logits = model(seen.flip(3)).flip(3) if mirrored else model(seen)
    if logits.shape[2:] != images.shape[2:]:
        logits = F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)
    return _softmax(logits)


def _softmax(logits: Tensor) -> Tensor:
    """Logits (B, classes, H, W) -> probabilities; on a CPU in the same memory.

    torch's softmax first makes planes of logits that lie side by side, and so holds large ones three times at once. A
    few rows at a time, a window of 1024 x 1024 with 19 classes takes a fifth of its time; few classes take as long.
    """
    if logits.device.type != "cpu" or logits.dtype != torch.float32:
        return logits.softmax(dim=1)
    side_by_side = logits.stride(1) == 1 and logits.shape[1] >= LANES
    for rows in logits.split(max(1, IN_CACHE // (logits.shape[1] * logits.shape[3])), dim=2):
        some = rows.movedim(1, -1) if side_by_side else rows
        some.copy_(some.softmax(dim=-1 if side_by_side else 1))
    return logits


def _stack(batch: Sequence[tuple[Window, list[Piece]]], read: Read) -> Tensor:
    return torch.stack([read(window) for window, _ in batch])


def _blend(
    mosaic: Mosaic,
    batch: Sequence[tuple[Window, list[Piece]]],
    predicted: Tensor,
    waiting: dict[Window, Tensor],
    write: Write,
) -> None:
    """Add the windows of a batch to what waits for them, and write the parts that are now complete."""
    for (window, pieces), probabilities in zip(batch, predicted, strict=True):
        rows, columns = (torch.from_numpy(weights).to(predicted.device) for weights in mosaic.weights(window))
        for piece in pieces:
            vertical, horizontal = piece.place.within(window)
            part = probabilities[:, vertical, horizontal]
            if piece.shared:
                part.mul_(rows[vertical, None] * columns[horizontal])
                before = waiting.pop(piece.place, None)
                if before is not None:
                    part.add_(before)
            if piece.complete:
                write(piece.place, part)
            else:
                waiting[piece.place] = part.clone()  # or it would keep all of the window


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
