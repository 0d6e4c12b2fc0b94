"""Mean and std of a run: those of its pretrained weights, unless the configuration contradicts them."""

from collections.abc import Sequence

from segnet.errors import ConfigError
from segnet.weights.names import (
    Weights,
)

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ASSUMED = "normalization_assumed"  # key of Weights.meta
NORMALIZATION_TOLERANCE = 1e-3  # of a mean or standard deviation: 0.224 is also written 0.2240, or 57.12 / 255


def resolve_normalization(
    mean: Sequence[float] | None, std: Sequence[float] | None, weights: Weights | None, num_channels: int
) -> tuple[list[float], list[float]]:
    """Decides by which mean and standard deviation images are normalized.

    Args:
        mean, std: what the configuration says; None: what the weights were trained with, or 0.5 without weights.
        weights: of the backbone.
        num_channels: of the images. Statistics of other channels than the weights' are 0.5, unless configured.

    Raises:
        ConfigError: they are not those of the weights, or the weights' are not known and none are configured.
    """
    resolved = []
    for option, configured, trained in (
        ("mean", mean, weights.mean if weights else None),
        ("std", std, weights.std if weights else None),
    ):
        if weights and weights.meta.get(ASSUMED) and configured is not None:
            trained = None
        if weights and trained is None and configured is None:
            raise ConfigError(
                f"{weights.source} does not tell the {option} of the images that it was trained with: "
                f"set {option}=[...], for values of 0-1, such as {list(IMAGENET[option == 'std'])} for ImageNet's"
            )
        if trained is None or len(trained) != num_channels:
            resolved.append(list(configured) if configured is not None else [0.5] * num_channels)
            continue
        if configured is not None and not _close(configured, trained):
            raise ConfigError(
                f"{option}={list(configured)}, but {weights.source if weights else ''} was trained with "
                f"{option}={list(trained)}: leave mean and std out, or set them so"
            )
        resolved.append(list(trained))
    return resolved[0], resolved[1]


def _close(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and all(
        abs(a - b) <= NORMALIZATION_TOLERANCE for a, b in zip(values, others, strict=True)
    )
