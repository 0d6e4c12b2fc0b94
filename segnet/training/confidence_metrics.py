"""How far a probability can be trusted: expected calibration error and risk at coverage, from histograms in integers.

The confidence of a pixel is the probability of its predicted class (softmax). The expected calibration error (ECE;
Guo et al. 2017, arXiv 1706.04599) has 15 bins of equal width: the difference of accuracy and mean confidence, weighted
by the pixels of each bin. The risk at a coverage is the error rate of the most confident fraction of the pixels
(El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, arXiv 1705.08500), and AURC is the area under this curve. Ignored
pixels are left out. Within a cell of the histogram, pixels count as equally confident.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from segnet.inference.tta import IN_CACHE
from segnet.models.temperature import Temperature
from segnet.training.metrics import number

NUM_BINS = 15
COVERAGES = (0.5, 0.8, 0.9, 0.95, 1.0)
ECE_DEFINITION = (
    "sum over 15 bins of equal width of |accuracy - mean confidence| * fraction of the pixels; the confidence is the "
    "probability of the predicted class; ignored pixels left out"
)
RISK_DEFINITION = "error rate of the most confident fraction of the pixels; aurc is its mean over all fractions"
# A bin is divided by the distance t of a confidence to its upper end, in bins: 32 cells per power of 2, from the bits
# of a float32. The distance to 1 thus has a relative resolution of 3 %: most pixels of a good model are above 0.999.
CELL_SHIFT = 18  # mantissa bits that do not count
FIRST_CELL = (127 - 20) << 5  # t = 2 ** -20, the resolution of a float32 near 15
CELLS_PER_BIN = (127 << 5) - FIRST_CELL + 2  # up to t = 1; the first is for smaller t
ONE = 2**24  # confidences are summed as integers in this unit, so that the order of the images does not matter


@dataclass(frozen=True, slots=True)
class ConfidenceScores:
    """Scores of a model's confidence, as fractions in [0, 1]; 0 / 0 is NaN.

    Attributes:
        pixels: pixels in each of the `NUM_BINS` bins of confidence.
        confidence: mean confidence of each bin.
        accuracy: fraction of correct pixels in each bin.
        ece: expected calibration error.
        mean_confidence: mean over all pixels; above the pixel accuracy, the model is overconfident.
        risks: error rates at the coverages `COVERAGES`.
        aurc: area under the risk-coverage curve.
    """

    pixels: list[int]
    confidence: list[float]
    accuracy: list[float]
    ece: float
    mean_confidence: float
    risks: list[float]
    aurc: float

    def risk(self, coverage: float) -> float:
        """The error rate of the most confident fraction of the pixels, one of `COVERAGES`."""
        return self.risks[COVERAGES.index(coverage)]

    def to_dict(self, temperature: Temperature) -> dict[str, Any]:
        """Return the scores as JSON-compatible builtins, with the temperature of the probabilities."""
        bins = zip(self.pixels, self.confidence, self.accuracy, strict=True)
        return {
            "temperature": list(temperature.values),
            "ece": number(self.ece),
            "ece_definition": ECE_DEFINITION,
            "mean_confidence": number(self.mean_confidence),
            "bins": [
                {
                    "above": index / NUM_BINS,
                    "up_to": (index + 1) / NUM_BINS,
                    "pixels": pixels,
                    "confidence": number(confidence),
                    "accuracy": number(accuracy),
                }
                for index, (pixels, confidence, accuracy) in enumerate(bins)
            ],
            "risk_at_coverage": {
                f"{coverage:g}": number(risk) for coverage, risk in zip(COVERAGES, self.risks, strict=True)
            },
            "aurc": number(self.aurc),
            "risk_definition": RISK_DEFINITION,
        }


class ConfidenceCounts(Metric):
    """Histograms of the confidence of correct and wrong pixels, summed over batches and processes in exact integers."""

    full_state_update = False
    cells: Tensor
    sums: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(NUM_BINS, CELLS_PER_BIN, 2, dtype=torch.int64)
        self.add_state("cells", zeros, dist_reduce_fx="sum")  # [bin, cell, is correct]: pixels
        self.add_state("sums", torch.zeros(NUM_BINS, dtype=torch.int64), dist_reduce_fx="sum")  # confidences / ONE

    def update(self, confidence: Tensor, correct: Tensor, counted: Tensor) -> None:
        """Count pixels.

        Args:
            confidence: float32, 0-1, of any shape; NaN, of a model that diverged, counts as 0.
            correct: whether the predicted class is the true one; bool, of the same shape.
            counted: False for ignored pixels; bool, of the same shape.
        """
        confidence = confidence.reshape(-1).nan_to_num(0.0)
        scaled = confidence * NUM_BINS
        upper = scaled.ceil().clamp_(1, NUM_BINS)
        cell = (upper - scaled).view(torch.int32).bitwise_right_shift_(CELL_SHIFT).sub_(FIRST_CELL - 1)
        bins = upper.to(torch.int32) - 1
        index = (bins * CELLS_PER_BIN + cell.clamp_(0, CELLS_PER_BIN - 1)) * 2 + correct.reshape(-1)
        ignored = counted.reshape(-1).logical_not()  # in an extra cell: indexing would synchronize with the device
        units = (confidence * ONE).round_().long()
        self.cells += _summed(index.masked_fill_(ignored, self.cells.numel()), None, self.cells)
        self.sums += _summed(bins.masked_fill_(ignored, NUM_BINS), units, self.sums)

    def compute(self) -> tuple[Tensor, Tensor]:
        """Return the counts: pixels [bin, cell, is correct], and the sums of confidences by bin, in 1 / ONE."""
        return self.cells, self.sums

    def scores(self) -> ConfidenceScores:
        """Compute the scores of all pixels so far, in float64."""
        cells, sums = (counts.cpu().double() for counts in self.compute())
        sums = sums / ONE
        by_bin = cells.sum(1)
        pixels, correct = by_bin.sum(1), by_bin[:, 1]
        total = pixels.sum()
        counts = cells.flip(0).flatten(0, 1)  # the most confident first: a cell's number grows with the distance to 1
        risks, aurc = _risks(counts.sum(1), counts[:, 0])
        return ConfidenceScores(
            pixels=pixels.long().tolist(),
            confidence=(sums / pixels).tolist(),
            accuracy=(correct / pixels).tolist(),
            ece=((correct - sums).abs().sum() / total).item(),
            mean_confidence=(sums.sum() / total).item(),
            risks=risks,
            aurc=aurc,
        )


def top_confidence(logits: Tensor, predicted: Tensor, temperature: Temperature) -> Tensor:
    """The probability of the predicted classes: softmax of the divided logits (B, classes, H, W) -> (B, H, W).

    Args:
        predicted: argmax of the logits (B, H, W).
    """
    divisor = temperature.of_pixels(predicted).expand_as(predicted)
    rows = max(1, IN_CACHE // (logits.shape[1] * logits.shape[3])) if logits.device.type == "cpu" else logits.shape[2]
    found = []
    chunks = (logits.split(rows, dim=2), predicted.split(rows, dim=1), divisor.split(rows, dim=1))
    for part, ids, scale in zip(*chunks, strict=True):
        relative = (part - part.gather(1, ids[:, None].long())).div_(scale[:, None])
        found.append(relative.exp_().sum(1).reciprocal_())
    return torch.cat(found, dim=1).float()


def _summed(index: Tensor, weights: Tensor | None, state: Tensor) -> Tensor:
    """Sum weights (None: 1) by index into a tensor like `state`; the index after its last one is dropped."""
    index = index.long()
    sums = torch.zeros(state.numel() + 1, dtype=torch.int64, device=index.device)
    sums.scatter_add_(0, index, torch.ones_like(index) if weights is None else weights)
    return sums[:-1].view_as(state)


def _risks(pixels: Tensor, errors: Tensor) -> tuple[list[float], float]:
    """The risks at `COVERAGES`, and AURC, from the pixels and errors of cells by decreasing confidence.

    The errors rise linearly within a cell. The area is the exact integral of errors(n) / n over n.
    """
    present = pixels > 0
    pixels, errors = pixels[present], errors[present]
    if not len(pixels):
        return [math.nan] * len(COVERAGES), math.nan
    ends, total = pixels.cumsum(0), pixels.sum()
    starts, before = ends - pixels, errors.cumsum(0) - errors
    rates = errors / pixels
    risks = []
    for coverage in COVERAGES:
        covered = coverage * total
        cell = int(torch.searchsorted(ends, covered).clamp_max(len(ends) - 1))
        risks.append(((before[cell] + rates[cell] * (covered - starts[cell])) / covered).item())
    constant = before - rates * starts  # errors(n) = constant + rate * n; it is 0 in the first cell
    logs = (ends[1:] / starts[1:]).log()
    area = errors.sum() + (constant[1:] * logs).sum()
    return risks, (area / total).item()
