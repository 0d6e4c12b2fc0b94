"""segnet: semantic segmentation for people who have images and masks.

The names in ``__all__`` are the public API. Each is imported when it is first used: ``import segnet`` alone imports no
torch. Everything else may change between releases.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segnet.api import average, compare, crossval, doubt, evaluate, export, inspect, rank, train
    from segnet.config import Config
    from segnet.inference.predictor import Predictor
    from segnet.inference.refinement import Refinement
    from segnet.inference.segmentation import Segmentation
    from segnet.inference.smoothing import Smoothing
    from segnet.models.segmentation_model import SegmentationModel
    from segnet.published.zoo import load_checkpoint

__all__ = [
    "Config",
    "Predictor",
    "Refinement",
    "Segmentation",
    "SegmentationModel",
    "Smoothing",
    "__version__",
    "average",
    "compare",
    "crossval",
    "doubt",
    "evaluate",
    "export",
    "inspect",
    "load_checkpoint",
    "rank",
    "train",
]
__version__ = "0.2.0"

_MODULE_OF = {
    "Config": "segnet.config",
    "Predictor": "segnet.inference.predictor",
    "Refinement": "segnet.inference.refinement",
    "Segmentation": "segnet.inference.segmentation",
    "SegmentationModel": "segnet.models.segmentation_model",
    "Smoothing": "segnet.inference.smoothing",
    "average": "segnet.api",
    "compare": "segnet.api",
    "crossval": "segnet.api",
    "doubt": "segnet.api",
    "evaluate": "segnet.api",
    "export": "segnet.api",
    "inspect": "segnet.api",
    "load_checkpoint": "segnet.published.zoo",
    "rank": "segnet.api",
    "train": "segnet.api",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'segnet' has no attribute '{name}'")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
