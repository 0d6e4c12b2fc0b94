"""Test-time augmentation (flip, multi-scale) and sliding-window inference, shared by prediction and evaluation.

Probabilities are averaged, as in PSPNet (arXiv 1612.01105) and DeepLab (arXiv 1606.00915). Overlapping windows are
blended in the same way: averaging logits instead would let a window with large logits dominate. The weights of a window
decrease linearly towards its borders, which hides seams, and sum to 1 with those of its neighbors. Test-time
augmentation is applied to each window, not to the whole image.
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
from segnet.models.temperature import Temperature

Model = Callable[[Tensor], Tensor]  # images (B, channels, H, W), 0-255 -> logits (B, classes, H, W), to be overwritten
Models = Model | Sequence[Model]  # the probabilities of several models, with one order of classes, are averaged
Read = Callable[[Window], Tensor]  # -> (channels, h, w), 0-255, on the model's device
Write = Callable[[Window, Tensor], None]  # probabilities (classes, h, w)
T = TypeVar("T")
MAX_PIXELS = 2_500_000  # largest image that is predicted without windows by default
AT_ONCE = 2**22  # scores per chunk of argmax
LARGEST_SCALE = 16  # a larger image needs memory, and shows no more
LEAST_WINDOW = 16  # of a window: smaller ones have no context, and take minutes per image [pixels]
IN_CACHE = 2**18  # scores per chunk of softmax: several copies fit in a CPU cache
LANES = 16  # from this number of classes on, torch's softmax is fast along contiguous values


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Settings of inference: test-time augmentation and sliding windows.

    Attributes:
        flip: whether to average with the prediction of the mirrored image.
        scales: factors on the image size to average over, at most 16.
        window: side of the sliding windows on larger images, 16 or more [pixels]; None: no windows.
        overlap: smallest overlap of adjacent windows, as a fraction of their side, 0-0.9.
        batch_size: number of windows per batch.
        activation: from logits to probabilities, which may overwrite the logits; None: softmax.

    Raises:
        ConfigError: an option is out of range.
    """

    flip: bool = False
    scales: Sequence[float] = (1.0,)
    window: int | None = None
    overlap: float = 0.25
    batch_size: int = 1
    activation: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < scale <= LARGEST_SCALE for scale in self.scales):
            raise ConfigError(
                f"scales={list(self.scales)} must be one or more factors above 0 and at most {LARGEST_SCALE}, such as "
                "[0.5, 1.0]"
            )
        if self.window is not None and self.window < LEAST_WINDOW:
            raise ConfigError(f"window={self.window} must be {LEAST_WINDOW} or more pixels, or null")
        if not 0 <= self.overlap <= 0.9:
            raise ConfigError(f"overlap={self.overlap} must be a fraction of a window, 0 to 0.9")
        if self.batch_size < 1:
            raise ConfigError(f"batch_size={self.batch_size} must be 1 or more")

    @property
    def is_plain(self) -> bool:
        """Whether test-time augmentation is off, so that one window needs no averaging."""
        return not self.flip and list(self.scales) == [1]

    @torch.inference_mode()
    def __call__(self, model: Models, images: Tensor) -> Tensor:
        """Predict images (B, channels, H, W), 0-255, in memory: probabilities (B, classes, H, W)."""
        if self.window is None or max(images.shape[2:]) <= self.window:
            return self.averaged(model, images)
        return torch.stack([self._slide_in_memory(model, image) for image in images])

    @torch.inference_mode()
    def averaged(self, model: Models, images: Tensor) -> Tensor:
        """Predict images (B, channels, H, W) without windows: probabilities (B, classes, H, W).

        They are averaged over test-time augmentation and models, one after the other: two tensors are in memory.
        """
        found = self.views(model, images)
        total, count = next(found), 1
        for probabilities in found:
            total += probabilities
            count += 1
            del probabilities  # before the next view is predicted
        return total if count == 1 else total.div_(count)

    @torch.inference_mode()
    def views(self, model: Models, images: Tensor) -> Iterator[Tensor]:
        """Yield the probabilities (B, classes, H, W) that `averaged` takes the mean of, a tensor per model and view."""
        for one in list(model) if isinstance(model, Sequence) else [model]:
            for scale in self.scales:
                for mirrored in (False, True) if self.flip else (False,):
                    yield (self.activation or _softmax)(_view_logits(one, images, scale, mirrored))

    @torch.inference_mode()
    def slide(self, model: Models, size: tuple[int, int], read: Read, write: Write) -> None:
        """Predict an image with sliding windows; neither it nor its probabilities need to fit in memory.

        Args:
            size: (height, width) [pixels].
            read: returns a window of the image; a window may be requested twice.
            write: receives the final probabilities of a tile, in a buffer that is reused afterwards. The tiles cover
                every pixel once.
        """
        mosaic = Mosaic(size, self.window or max(size), self.overlap)
        waiting: dict[Window, Tensor] = {}
        for batch in _batches(mosaic, self.batch_size):
            # separate functions release the tensors of a batch before the next one is predicted
            _blend(mosaic, batch, self.averaged(model, _stack(batch, read)), waiting, write)
        assert not waiting

    def _slide_in_memory(self, model: Models, image: Tensor) -> Tensor:
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
        """A copy with the default windows if an image of (height, width) is large."""
        if self.window is not None or math.prod(size) <= MAX_PIXELS:
            return self
        return self.with_window(DEFAULT_WINDOW)

    def with_window(self, window: int | None, batch_size: int | None = None) -> "Inference":
        """A copy with another window side and batch size."""
        return replace(self, window=window, batch_size=batch_size or self.batch_size)


def argmax_classes(scores: Tensor) -> Tensor:
    """Argmax over classes, the first of ties: (..., classes, H, W) -> (..., H, W), int64.

    NaN counts as the highest score. On a CPU, this is five to ten times faster than torch's argmax for scores in planar
    (channels-first) layout, as from exported models.
    """
    if scores.device.type != "cpu" or scores.stride(-3) == 1:
        return scores.argmax(dim=-3)
    rows = max(1, AT_ONCE // (scores.shape[-3] * scores.shape[-1]))
    return torch.cat([_ids_of_planes(part) for part in scores.split(rows, dim=-2)], dim=-2)


def _ids_of_planes(scores: Tensor) -> Tensor:
    classes = scores.shape[-3]
    ranks = torch.arange(classes, 0, -1, dtype=torch.uint8 if classes < 256 else torch.int16)[:, None, None]
    is_best = (scores < scores.amax(dim=-3, keepdim=True)).logical_not_()  # like `==`, but true for NaN
    return classes - (is_best * ranks).amax(dim=-3).long()


def as_logits(probabilities: Tensor) -> Tensor:
    """Logits whose softmax gives the probabilities."""
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def calibrated(probabilities: Tensor, temperature: Temperature) -> Tensor:
    """Apply a temperature to final probabilities (..., classes, H, W), which it overwrites; their argmax stays.

    It follows the averages of windows, test-time augmentation and models. Masks are therefore the same for every
    temperature, and a single prediction gets softmax(logits / temperature).
    """
    if temperature.is_one:
        return probabilities
    divisor: Tensor | float = temperature.values[0]
    if temperature.is_by_class:
        divisor = temperature.of_pixels(argmax_classes(probabilities)).unsqueeze(-3)
    logits = probabilities.clamp_min_(torch.finfo(probabilities.dtype).tiny).log_().div_(divisor)
    return _softmax(logits) if logits.ndim == 4 else _softmax(logits[None])[0]


def rescale_images(images: Tensor, scale: float) -> Tensor:
    """Resize images (B, channels, H, W) bilinearly, like training; the dtype is kept."""
    size = [max(1, round(side * scale)) for side in images.shape[2:]]
    if size == list(images.shape[2:]):
        return images
    values = F.interpolate(images.float(), size=size, mode="bilinear", align_corners=False)
    return values if images.is_floating_point() else values.round().to(images.dtype)


def _view_logits(model: Model, images: Tensor, scale: float, mirrored: bool) -> Tensor:
    seen = rescale_images(images, scale)
    logits = model(seen.flip(3)).flip(3) if mirrored else model(seen)
    if logits.shape[2:] != images.shape[2:]:
        logits = F.interpolate(logits, size=images.shape[2:], mode="bilinear", align_corners=False)
    return logits


def _softmax(logits: Tensor) -> Tensor:
    """Softmax of logits (B, classes, H, W); in place on a CPU.

    torch's softmax copies channels-last logits to planar layout, and holds large ones three times. In chunks of rows, a
    window of 1024 x 1024 with 19 classes takes a fifth of the time; few classes take the same time.
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
    """Blend the windows of a batch into the pending tiles, and write the completed ones."""
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
                waiting[piece.place] = part.clone()  # a view would keep the whole window in memory


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
