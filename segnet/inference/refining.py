"""From probabilities to the mask of one model: the steps of `segnet.inference.refinement` that follow the averages."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from segnet.classes import MAX_LABEL, THRESHOLD_STEPS, Classes
from segnet.components import did_you_mean
from segnet.errors import ConfigError
from segnet.images.regions import fill_small_regions
from segnet.inference.decisions import decision_of
from segnet.inference.refinement import Refinement
from segnet.inference.tta import argmax_classes, calibrated
from segnet.models.temperature import Temperature

Ids = NDArray[np.uint8 | np.uint16]


class Refiner:
    """Applies a refinement to the probabilities of one model.

    Args:
        refinement: the options.
        classes: names of the classes, and the ignored label.

    Attributes:
        refinement: the options.
        classes: the classes; with several classes per pixel, given thresholds replace those of the model.
        may_refuse: whether pixels may get the ignored label.
        least_areas: smallest region by label [pixels], int64 (65536,); 0 for the ignored label.
        id_type: type of the masks: uint8 if all ids fit, else uint16.
        needs_probabilities: whether logits are not enough.

    Raises:
        ConfigError: an unknown class name, or an option that does not suit several classes per pixel.
    """

    def __init__(self, refinement: Refinement, classes: Classes) -> None:
        self.refinement = refinement
        thresholds = {
            _class_id("threshold", name, classes): value for name, value in sorted(refinement.threshold.items())
        }
        num_classes = len(classes.names)
        self.classes = _with_thresholds(classes, thresholds, refinement) if classes.is_multilabel else classes
        self._decision = decision_of(self.classes) if classes.is_multilabel else None
        self.needs_probabilities = refinement.needs_probabilities or self._decision is not None
        self._ids, self._thresholds = [*sorted(thresholds)], [thresholds[index] for index in sorted(thresholds)]
        self._covers_all = len(thresholds) == num_classes
        self._ignored = classes.ignore_index
        self.may_refuse = refinement.refuse > 0 or (self._covers_all and self._decision is None)
        largest = max(num_classes - 1, classes.ignore_index if self.may_refuse else 0)
        self.id_type: type[np.uint8] | type[np.uint16] = np.uint8 if largest <= 255 else np.uint16
        self.least_areas = np.zeros(MAX_LABEL + 1, np.int64)
        self.least_areas[:num_classes] = refinement.min_area
        for name, area in refinement.class_min_area.items():
            self.least_areas[_class_id("min_area", name, classes)] = area

    def mask(self, scores: Tensor) -> Ids:
        """The mask of a whole image.

        Args:
            scores: probabilities (classes, H, W), 0-1; logits are enough unless `refinement.needs_probabilities`.

        Returns:
            (H, W) class ids and the ignored label; with several classes per pixel, planes (classes, H, W) of 0 and 1.
        """
        return self.by_region(self.by_pixel(scores))

    def finish(
        self, scores: Tensor, temperature: Temperature, keep: bool = False
    ) -> tuple[Ids, NDArray[np.float16] | None]:
        """Give each pixel its class, and calibrate the probabilities, after all averages.

        A mask without thresholds and refusal is taken before the calibration: it is the same for every temperature.

        Args:
            scores: probabilities (classes, H, W), 0-1, which are overwritten; logits are enough unless
                `refinement.needs_probabilities` or `keep`.
            temperature: that of the probabilities.
            keep: whether to return the probabilities.

        Returns:
            The mask by pixel (H, W), and the probabilities (classes, H, W).
        """
        decides = self.refinement.needs_probabilities
        ids = None if decides else self.by_pixel(scores)
        if decides or keep:
            scores = calibrated(scores, temperature)
        kept = scores.half().cpu().numpy() if keep else None
        return self.by_pixel(scores) if ids is None else ids, kept

    @torch.inference_mode()
    def label(self, scores: Tensor) -> Tensor:
        """Give each pixel its class by thresholds, and refuse unsure ones: (..., classes, H, W) -> (..., H, W), int64.

        Args:
            scores: as `mask` takes them; the values are the same afterwards.
        """
        if self._decision is not None:
            return self._decision.masks(scores)
        confidence = scores.amax(dim=-3) if self.refinement.refuse > 0 else None  # before the planes change
        ids = self._above_thresholds(scores) if self._ids else argmax_classes(scores)
        if confidence is not None:  # NaN is refused, too
            ids = ids.masked_fill((confidence >= self.refinement.refuse).logical_not_(), self._ignored)
        return ids

    def counted(self, scores: Tensor) -> Tensor:
        """What the metric of the task counts (`segnet.training.label_metrics.metric_of`): labels, or probabilities."""
        return self.label(scores) if self._decision is None else self._decision.counted(scores)

    def by_pixel(self, scores: Tensor) -> Ids:
        """What `label` gives, as an array: (classes, H, W) -> the mask. Tiles of an image may be taken one by one."""
        return self.label(scores).cpu().numpy().astype(self.id_type)

    def fill(self, ids: Tensor) -> Tensor:
        """Replace the small regions of the masks of whole images, (B, H, W); on the device of `ids`."""
        if not self.refinement.is_by_region:
            return ids
        masks = [self.by_region(one) for one in ids.cpu().numpy().astype(self.id_type)]
        return torch.from_numpy(np.stack(masks).astype(np.int64)).to(ids.device)

    def by_region(self, mask: Ids) -> Ids:
        """Replace the small regions of the mask of a whole image, (H, W)."""
        return fill_small_regions(mask, self.least_areas) if self.refinement.is_by_region else mask

    def _above_thresholds(self, scores: Tensor) -> Tensor:
        place = torch.tensor(self._ids, device=scores.device)
        planes = scores.index_select(-3, place)
        limits = torch.tensor(self._thresholds, dtype=scores.dtype, device=scores.device)[:, None, None]
        reached = planes >= limits
        ratios = (planes / limits).masked_fill_(reached.logical_not(), -1.0)
        chosen = place[argmax_classes(ratios)]
        if self._covers_all:
            others = torch.full_like(chosen, self._ignored)
        else:
            scores.index_fill_(-3, place, -1.0)  # without a copy of all planes
            others = argmax_classes(scores)
            scores.index_copy_(-3, place, planes)
        return torch.where(reached.any(dim=-3), chosen, others)


def _with_thresholds(classes: Classes, thresholds: Mapping[int, float], refinement: Refinement) -> Classes:
    """The classes with other thresholds for some, rounded to steps that a metric counts exactly.

    Raises:
        ConfigError: an option that needs one class per pixel.
    """
    for name in [key for key in refinement.to_dict() if key != "threshold"]:
        classes.require_one_class(name)
    if not thresholds:
        return classes
    given = {index: round(value * THRESHOLD_STEPS) / THRESHOLD_STEPS for index, value in thresholds.items()}
    own = [given.get(index, value) for index, value in enumerate(classes.decision_thresholds)]
    return replace(classes, thresholds=tuple(own))


def _class_id(option: str, name: str, classes: Classes) -> int:
    """The id of a class.

    Raises:
        ConfigError: an unknown class name.
    """
    if name not in classes.names:
        raise ConfigError(f"{option}: '{name}' is no class of this model.{did_you_mean(name, classes.names)}")
    return classes.names.index(name)
