"""Frozen stages of a backbone."""

from torch import nn

from segnet.errors import ConfigError


def frozen_parts(backbone: nn.Module, frozen_stages: int | None) -> list[nn.Module]:
    """Return the frozen parts of a backbone: the stem and the first `frozen_stages` stages.

    Raises:
        ConfigError: the backbone has fewer stages, or does not expose them.
    """
    if frozen_stages is None:
        return []
    parts = getattr(backbone, "parts", None)
    if parts is None:
        raise ConfigError(f"frozen_stages={frozen_stages}: this backbone has no stages to freeze; leave it at null")
    if not 0 <= frozen_stages < len(parts):
        raise ConfigError(
            f"frozen_stages={frozen_stages} is out of range: 0 freezes the stem, up to {len(parts) - 1} stages can be "
            "frozen with it, and null freezes nothing"
        )
    return list(parts[: frozen_stages + 1])
