"""Boundary IoU (arXiv 2103.16562) and trimap mIoU, summed over a split like the confusion matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from segnet.errors import ConfigError
from segnet.images.boundaries import boundary_width, near_image_border, near_other_class

BOUNDARY_DEFINITION = (
    "IoU of the pixels of a class near its boundary, in truth and prediction, as in arXiv 2103.16562; summed over the "
    "split. The border of the image is a boundary, the border to ignored pixels is not"
)
TRIMAP_DEFINITION = "IoU over the pixels near a boundary between true classes; summed over the split"


def iou_of_counts(correct: NDArray[np.int64], truth: NDArray[np.int64], predicted: NDArray[np.int64]) -> list[float]:
    """Return the IoU of each class from its pixel counts; NaN for a class in neither truth nor prediction."""
    union = (truth + predicted - correct).astype(np.float64)
    ratios: list[float] = np.divide(correct, union, out=np.full(union.shape, np.nan), where=union > 0).tolist()
    return ratios


def mean_of_present(values: list[float]) -> float:
    """Return the mean without NaN; NaN if nothing is left."""
    present = [value for value in values if value == value]
    return sum(present) / len(present) if present else float("nan")


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """Scores near class boundaries, as fractions in [0, 1]; 0 / 0 is NaN.

    Attributes:
        ratio: width of a boundary on each side, as a fraction of the image diagonal.
        boundary_iou, trimap_iou: per class.
    """

    ratio: float
    boundary_iou: list[float]
    trimap_iou: list[float]

    @property
    def boundary_miou(self) -> float:
        """The mean of `boundary_iou` without NaN."""
        return mean_of_present(self.boundary_iou)

    @property
    def trimap_miou(self) -> float:
        """The mean of `trimap_iou` without NaN."""
        return mean_of_present(self.trimap_iou)


class BoundaryCounts:
    """Pixel counts near class boundaries, summed over images in exact integers.

    The counts are three numbers per class and score, whatever the number of images. An image needs memory for a few
    masks of its size.

    Args:
        num_classes: number of classes.
        ignore_index: truth pixels of this value are not counted.
        ratio: width of a boundary on each side, as a fraction of the image diagonal; the paper's is 0.02.

    Raises:
        ConfigError: `ratio` is not in 0-0.5.
    """

    def __init__(self, num_classes: int, ignore_index: int, ratio: float) -> None:
        if not 0 < ratio <= 0.5:
            raise ConfigError(f"boundary={ratio} must be a fraction of the image diagonal: write boundary=0.02")
        self.num_classes, self.ignore_index, self.ratio = num_classes, ignore_index, ratio
        self.reset()

    def reset(self) -> None:
        """Set all counts to 0."""
        self._boundary = np.zeros((3, self.num_classes), np.int64)  # correct, truth, predicted
        self._trimap = np.zeros((3, self.num_classes), np.int64)

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Count two masks of whole images (B, H, W) or (H, W): class ids; truth may contain `ignore_index`."""
        for predicted, true in zip(_images(prediction), _images(truth), strict=True):
            self._count(predicted, true)

    def _count(self, predicted: NDArray[np.integer], truth: NDArray[np.integer]) -> None:
        width = boundary_width(truth.shape, self.ratio)
        labeled = truth != self.ignore_index
        predicted = np.where(labeled, predicted, self.ignore_index)
        is_correct = predicted == truth
        trimap = near_other_class(truth, self.ignore_index, width)
        self._trimap += self._by_class(truth, predicted, trimap & is_correct, trimap, trimap)
        border = near_image_border((truth.shape[0], truth.shape[1]), width) & labeled
        true_boundary = trimap | border
        predicted_boundary = near_other_class(predicted, self.ignore_index, width) | border
        both = true_boundary & predicted_boundary & is_correct
        self._boundary += self._by_class(truth, predicted, both, true_boundary, predicted_boundary)

    def _by_class(
        self,
        truth: NDArray[np.integer],
        predicted: NDArray[np.integer],
        correct: NDArray[np.bool_],
        of_truth: NDArray[np.bool_],
        of_prediction: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Pixels of each class that are correct, true and predicted: (3, classes)."""
        chosen = (truth[correct], truth[of_truth], predicted[of_prediction])
        return np.stack([np.bincount(ids, minlength=self.num_classes) for ids in chosen])

    def scores(self) -> BoundaryScores:
        """Compute the scores of all images so far."""
        return BoundaryScores(self.ratio, iou_of_counts(*self._boundary), iou_of_counts(*self._trimap))


def _images(masks: Tensor) -> list[NDArray[np.integer]]:
    """The masks of a batch (B, H, W), or a single one (H, W), as arrays."""
    array: NDArray[np.integer] = masks.cpu().numpy()
    return [array] if array.ndim == 2 else list(array)
