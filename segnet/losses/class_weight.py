"""Weights of classes by how rare they are in the training masks: what ``class_weight: auto`` stands for.

* ``median_frequency``, which is also ``auto``: Eigen and Fergus, "Predicting depth, surface normals and semantic
  labels with a common multi-scale convolutional architecture", 2015 (arXiv 1411.4734), as in SegNet: the median of all
  frequencies over that of the class, which is its share of the images that hold it.
* ``inverse_log``: Paszke et al., "ENet", 2016 (arXiv 1606.02147): 1 / ln(1.02 + share of the class).

Both count labeled pixels only.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.components import did_you_mean
from segnet.errors import ConfigError

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
AUTO_WEIGHT = "auto"
DIGITS = 4  # of a weight: what is printed is what is used


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """What masks hold, of each class.

    Attributes:
        pixels: (num_classes,) how many it has.
        labeled: (num_classes,) how many labeled pixels of any class the images have that hold it.
    """

    pixels: Floats
    labeled: Floats


def median_frequency(counts: LabelCounts) -> Floats:
    """Weights (num_classes,); 0 of classes without a pixel."""
    present = counts.pixels > 0
    frequency = counts.pixels[present] / counts.labeled[present]
    weights = np.zeros(len(counts.pixels))
    weights[present] = np.median(frequency) / frequency
    return weights


def inverse_log(counts: LabelCounts) -> Floats:
    """Weights (num_classes,), 1.4 to 50.5."""
    weights: Floats = 1 / np.log(1.02 + counts.pixels / counts.pixels.sum())
    return weights


RULES: dict[str, Callable[[LabelCounts], Floats]] = {
    AUTO_WEIGHT: median_frequency,
    "inverse_log": inverse_log,
    "median_frequency": median_frequency,
}


def with_class_weights(
    loss: Mapping[str, Any], names: tuple[str, ...], counted: Callable[[], LabelCounts], where: str = "loss"
) -> dict[str, Any]:
    """The spec of a loss, or of a sum of losses, with numbers where ``class_weight`` names a rule; they are logged.

    Args:
        names: of the classes.
        counted: gives what the training masks hold; asked for only where a rule needs it.
        where: the option that the spec is.

    Raises:
        ConfigError: no such rule.
    """
    spec = dict(loss)
    if isinstance(terms := spec.get("terms"), Mapping):
        spec["terms"] = {
            term: with_class_weights(options, names, counted, f"{where}.terms.{term}")
            if isinstance(options, Mapping)
            else options
            for term, options in terms.items()
        }
    rule = spec.get("class_weight")
    if isinstance(rule, str):
        if rule not in RULES:
            raise ConfigError(
                f"{where}.class_weight={rule} is no rule, nor a list of a number for each class."
                f"{did_you_mean(rule, RULES)}"
            )
        spec["class_weight"] = [float(f"{weight:.{DIGITS}g}") for weight in RULES[rule](counted())]
        weights = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, spec["class_weight"], strict=True))
        log.info("%s.class_weight=%s (%s): %s", where, rule, RULES[rule].__name__, weights)
    return spec
