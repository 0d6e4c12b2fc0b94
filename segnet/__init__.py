"""segnet: semantic segmentation for people who have images and masks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segnet.inference.predictor import Predictor
    from segnet.inference.segmentation import Segmentation

__all__ = ["Predictor", "Segmentation", "__version__"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """Imports what predicts, and torch with it, only when it is asked for."""
    if name == "Predictor":
        from segnet.inference.predictor import Predictor

        return Predictor
    if name == "Segmentation":
        from segnet.inference.segmentation import Segmentation

        return Segmentation
    raise AttributeError(f"module 'segnet' has no attribute '{name}'")
