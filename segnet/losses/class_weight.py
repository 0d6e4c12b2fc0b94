"""Class weights from class frequencies in the training masks (``class_weight: auto``).

* ``median_frequency``, the rule of ``auto``: median frequency divided by the class's frequency. A class's frequency is
  its fraction of the labeled pixels in images that contain it. Source: Eigen and Fergus, "Predicting depth, surface
  normals and semantic labels with a common multi-scale convolutional architecture", 2015 (arXiv 1411.4734), as in
  SegNet.
* ``inverse_log``: 1 / ln(1.02 + fraction of the class). Source: Paszke et al., "ENet", 2016 (arXiv 1606.02147).

Both count labeled pixels only.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segnet.option_values import check_class_weight_rule

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]
AUTO_WEIGHT = "auto"
DIGITS = 4  # significant digits of a weight, so that the logged weights are exactly the used ones


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Pixel counts of the training masks per class.

    Attributes:
        pixels: (num_classes,) pixels of the class.
        labeled: (num_classes,) labeled pixels, of any class, in images that contain the class.
    """

    pixels: Floats
    labeled: Floats


def median_frequency(counts: LabelCounts) -> Floats:
    """Median frequency balancing: weights (num_classes,), 0 for classes without pixels."""
    present = counts.pixels > 0
    frequency = counts.pixels[present] / counts.labeled[present]
    weights = np.zeros(len(counts.pixels))
    weights[present] = np.median(frequency) / frequency
    return weights


def inverse_log(counts: LabelCounts) -> Floats:
    """ENet's inverse log frequency: weights (num_classes,), from 1.4 to 50.5."""
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
    """Replace each ``class_weight`` rule in a loss spec, or in a sum of losses, by numbers, and log them.

    Args:
        loss: the spec.
        names: class names, for the log.
        counted: returns the pixel counts of the training masks; called only if a rule needs them.
        where: the spec's option name, for messages.

    Raises:
        ConfigError: an unknown rule.
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
        check_class_weight_rule(where, rule)
        spec["class_weight"] = [float(f"{weight:.{DIGITS}g}") for weight in RULES[rule](counted())]
        weights = ", ".join(f"{name} {weight:g}" for name, weight in zip(names, spec["class_weight"], strict=True))
        log.info("%s.class_weight=%s (%s): %s", where, rule, RULES[rule].__name__, weights)
    return spec


def without_class_weights(loss: Mapping[str, Any]) -> dict[str, Any]:
    """Return a loss spec, or a sum of losses, without class weights: they do not change its cost."""
    spec = {name: value for name, value in loss.items() if name != "class_weight"}
    if isinstance(terms := spec.get("terms"), Mapping):
        spec["terms"] = {
            term: without_class_weights(options) if isinstance(options, Mapping) else options
            for term, options in terms.items()
        }
    return spec
