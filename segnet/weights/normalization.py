"""Mean and std of a run: those of its pretrained weights; a conflicting configuration is an error."""

from collections.abc import Sequence

from segnet.errors import ConfigError
from segnet.weights.names import Weights

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
ASSUMED = "normalization_assumed"  # key of Weights.meta
NORMALIZATION_TOLERANCE = 1e-3  # allowed difference: 0.224 is also written 57.12 / 255


def resolve_normalization(
    mean: Sequence[float] | None, std: Sequence[float] | None, weights: Weights | None, num_channels: int
) -> tuple[list[float], list[float]]:
    """Determine mean and standard deviation for the normalization of images.

    Args:
        mean, std: configured values; None: those of the weights, or 0.5 without weights.
        weights: pretrained weights of the backbone.
        num_channels: channels of the images. If the weights have another number, the default is 0.5.

    Raises:
        ConfigError: they differ from those of the weights; or those of the weights are unknown and none are configured.
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
                f"{weights.source} does not contain the {option} of its training images: "
                f"set {option}=[...] for values of 0-1, such as {list(IMAGENET[option == 'std'])} for ImageNet"
            )
        if trained is None or len(trained) != num_channels:
            resolved.append(list(configured) if configured is not None else [0.5] * num_channels)
            continue
        if configured is not None and not _close(configured, trained):
            raise ConfigError(
                f"{option}={list(configured)}, but {weights.source if weights else ''} was trained with "
                f"{option}={list(trained)}: remove mean and std, or set backbone_weights=null"
            )
        resolved.append(list(trained))
    return resolved[0], resolved[1]


def _close(values: Sequence[float], others: Sequence[float]) -> bool:
    return len(values) == len(others) and all(
        abs(a - b) <= NORMALIZATION_TOLERANCE for a, b in zip(values, others, strict=True)
    )
