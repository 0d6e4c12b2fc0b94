"""Consistency loss of images without masks: weak-to-strong consistency with feature perturbation.

UniMatch (Yang et al., "Revisiting Weak-to-Strong Consistency in Semi-Supervised Semantic Segmentation", CVPR 2023,
arXiv 2208.09910) and UniMatch V2 (2024, arXiv 2410.10777). Reference code: github.com/LiheYoung/UniMatch, unimatch.py,
and LiheYoung/UniMatch-V2, unimatch_v2.py. A teacher predicts each pixel of a weak view. The predictions of two strong
views, and of the weak view's features with dropped channels, must agree with the confident ones.

* The loss of a stream is the cross entropy summed over confident pixels and divided by all pixels of images, as in the
  reference code: few confident pixels give a small loss. The streams' weights are 1/4, 1/4 and 1/2 (equation 6).
* The teacher is the network itself, in training mode (UniMatch), or its EMA in evaluation mode (V2).
* CutMix takes its rectangle from the preceding image of the batch (V2: the opposite one), for image, pseudo-label,
  confidence and padding alike. UniMatch loads and predicts further images for that.
* The reference code halves the sum of both losses; here the supervised loss keeps its weight.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segnet.config import Config, ConsistencyConfig
from segnet.errors import ConfigError
from segnet.losses.resized import CrossEntropyOptions, cross_entropy_sum, resize_logits
from segnet.models.segmentation_model import SegmentationModel

TEACHERS = ("model", "ema")
FEATURE_WEIGHT = 0.5  # weight of the feature perturbation stream; the strong views share the rest

Network = Callable[[Tensor], tuple[list[Tensor], Tensor]]  # images -> features, logits


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """What the teacher predicts.

    Attributes:
        mask: (B, H, W) class ids, int64; `ignore_index` where the teacher is not confident and in padding.
        is_image: (B, H, W) bool, False in padding.
    """

    mask: Tensor
    is_image: Tensor

    def mixed(self, inside: Tensor) -> "PseudoLabels":
        """Apply CutMix: (B, V, H, W) rectangles -> labels of all B * V views."""
        return PseudoLabels(*(mix(values[:, None], inside).flatten(0, 1) for values in (self.mask, self.is_image)))

    def confident(self, ignore_index: int) -> Tensor:
        """Return the fraction of the images' pixels that have a pseudo-label: a scalar."""
        return (self.mask != ignore_index).sum() / self.is_image.sum().clamp_min(1)


@dataclass(frozen=True, slots=True)
class ConsistencyLoss:
    """The weighted sum of the streams' losses, and the fraction of confident pixels: scalars."""

    loss: Tensor
    confident: Tensor


class Consistency:
    """The consistency loss of a training.

    Args:
        options: its options.
        ignore_index: mask value of ignored pixels.
        has_ema: whether the run has EMA weights.

    Attributes:
        uses_ema: whether the teacher is the EMA.
        teacher: the EMA of the model, in evaluation mode; None: the trained model itself.

    Raises:
        ConfigError: an option out of range, or the EMA as teacher of a run without one.
    """

    def __init__(self, options: ConsistencyConfig, ignore_index: int, has_ema: bool) -> None:
        if not 0 <= options.weight < float("inf"):
            raise ConfigError(f"consistency.weight={options.weight} must be 0 or more")
        if options.warmup_steps < 0:
            raise ConfigError(f"consistency.warmup_steps={options.warmup_steps} must be 0 or more")
        if not 0 <= options.threshold <= 1:
            raise ConfigError(f"consistency.threshold={options.threshold} must be a probability between 0 and 1")
        if not 0 <= options.channel_dropout < 1:
            raise ConfigError(f"consistency.channel_dropout={options.channel_dropout} must be a probability in [0, 1)")
        if options.teacher not in (None, *TEACHERS):
            raise ConfigError(f"consistency.teacher={options.teacher} is unknown: choose from {', '.join(TEACHERS)}")
        if options.teacher == "ema" and not has_ema:
            raise ConfigError(
                "consistency.teacher=ema, but the run has no EMA: set ema.decay=0.999, or consistency.teacher=model"
            )
        self.options, self.ignore_index = options, ignore_index
        self.uses_ema = options.teacher == "ema" or (options.teacher is None and has_ema)
        self.teacher: SegmentationModel | None = None

    @property
    def needs_weak_features(self) -> bool:
        """Whether the trained network itself must see the weak views."""
        return self.teacher is None or self.options.channel_dropout > 0

    def weight(self, step: int) -> float:
        """Return the weight of the loss at an optimizer step, from 0."""
        if step >= self.options.warmup_steps:
            return self.options.weight
        return self.options.weight * step / self.options.warmup_steps

    def __call__(
        self,
        network: Network,
        decoder: nn.Module,
        unlabeled: Mapping[str, Tensor],
        features: Sequence[Tensor],
        logits: Tensor,
    ) -> ConsistencyLoss:
        """Compute the loss of a batch of unlabeled images.

        Args:
            network: the trained network.
            decoder: its decoder.
            unlabeled: "weak" (B, C, H, W), "strong" (B, V, C, H, W), "is_image" (B, H, W) bool and "boxes" (B, V, 4).
            features, logits: the network's results for the weak views; without a teacher, its pseudo-labels follow
                from the logits. Both are empty if they are not needed.
        """
        align_corners = bool(decoder.align_corners)
        labels = self.pseudo_labels(unlabeled, logits, align_corners)
        inside = rectangles(unlabeled["boxes"], *unlabeled["is_image"].shape[1:])
        strong = mix(unlabeled["strong"], inside[:, :, None]).flatten(0, 1)
        loss = self._stream(network(strong)[1], labels.mixed(inside), align_corners)
        if self.options.channel_dropout > 0:
            dropped = [F.dropout2d(feature, self.options.channel_dropout) for feature in features]
            of_features = self._stream(decoder(dropped), labels, align_corners)
            loss = (1 - FEATURE_WEIGHT) * loss + FEATURE_WEIGHT * of_features
        return ConsistencyLoss(loss, labels.confident(self.ignore_index))

    @torch.no_grad()
    def pseudo_labels(self, unlabeled: Mapping[str, Tensor], logits: Tensor, align_corners: bool) -> PseudoLabels:
        """Predict the weak views, without a gradient to the teacher."""
        if self.teacher is not None:
            logits = self.teacher.decoder(self.teacher.encode(unlabeled["weak"]))
        masks = []
        for some, is_image in zip(logits.split(1), unlabeled["is_image"].split(1), strict=True):  # full size one by one
            probability, label = resize_logits(some, is_image, align_corners).softmax(1).max(1)
            masks.append(label.where((probability >= self.options.threshold) & is_image, self.ignore_index))
        return PseudoLabels(torch.cat(masks), unlabeled["is_image"])

    def _stream(self, logits: Tensor, labels: PseudoLabels, align_corners: bool) -> Tensor:
        options = CrossEntropyOptions(self.ignore_index, align_corners)
        return cross_entropy_sum(logits, labels.mask, options) / labels.is_image.sum().clamp_min(1)


def rectangles(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels inside of boxes (..., 4), [top, bottom, left, right]: bool (..., height, width)."""
    top, bottom, left, right = (edge[..., None] for edge in boxes.unbind(-1))
    rows = torch.arange(height, device=boxes.device)
    columns = torch.arange(width, device=boxes.device)
    in_rows, in_columns = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return in_rows[..., :, None] & in_columns[..., None, :]


def mix(values: Tensor, inside: Tensor) -> Tensor:
    """Replace the values (B, ...) inside of rectangles by those of the preceding image; the last precedes the first."""
    return torch.where(inside, values.roll(1, 0), values)


def consistency_of(config: Config, ignore_index: int) -> Consistency | None:
    """Return the consistency loss of a resolved configuration; None without unlabeled images.

    Raises:
        ConfigError: an option out of range, or options of the loss without unlabeled images.
    """
    if config.unlabeled:
        return Consistency(config.consistency, ignore_index, has_ema=bool(config.ema.decay))
    for name, value in asdict(config.consistency).items():
        if value != getattr(ConsistencyConfig(), name):
            raise ConfigError(f"consistency.{name}={value} needs images without masks: add unlabeled=FOLDER")
    return None
