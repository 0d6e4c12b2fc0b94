"""Temperatures that make softmax probabilities as high as the accuracy (Guo et al. 2017, arXiv 1706.04599).

The calibrated probabilities are ``softmax(logits / temperature)``. Of averaged probabilities p (sliding windows,
test-time augmentation, ensembles) they are ``softmax(log(p) / temperature)``, which is the same for a single
prediction. Masks are the argmax before this step: calibration never changes a mask.

A temperature per class belongs to the predicted class, as in class-based temperature scaling (Frenkel and Goldberger
2021, EUSIPCO). All logits of a pixel are divided by one number, so that their order stays. Dividing each logit by the
number of its own class, as vector scaling does, would change it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from segnet.components import are_numbers
from segnet.errors import ConfigError

LOWEST, HIGHEST = 0.1, 10.0  # of a fit: beyond them the split decides too little


@dataclass(frozen=True, slots=True)
class Temperature:
    """The temperature of a model's probabilities.

    Attributes:
        values: one for all pixels, or one per predicted class; above 1 lowers the confidence, 1 leaves it as it is.
    """

    values: tuple[float, ...] = (1.0,)

    @classmethod
    def read(cls, values: object, num_classes: int) -> "Temperature":
        """Check the stored values of a file; None, of a file without a temperature, is 1.

        Raises:
            ConfigError: they are not one number above 0, or one per class.
        """
        if values is None:
            return cls()
        if not isinstance(values, list | tuple) or not are_numbers(values) or len(values) not in (1, num_classes):
            raise ConfigError(f"temperature={values!r} is not a list of one number, or of one per class")
        if not all(0 < value < math.inf for value in values):
            raise ConfigError(f"temperature={values!r}: each must be above 0")
        return cls(tuple(float(value) for value in values))

    @property
    def is_one(self) -> bool:
        """Whether it changes nothing."""
        return all(value == 1 for value in self.values)

    @property
    def is_by_class(self) -> bool:
        """Whether there is one per predicted class."""
        return len(self.values) > 1

    def of_pixels(self, predicted: Tensor) -> Tensor:
        """The temperature of each pixel, or one for all: float32, of the shape of `predicted`, or (1,).

        Args:
            predicted: class ids, the argmax before calibration.
        """
        table = predicted.new_tensor(self.values, dtype=torch.float32)
        return table[predicted.long()] if self.is_by_class else table

    def in_order(self, order: Sequence[int] | None) -> "Temperature":
        """The temperature of a model whose classes are put in another order; None keeps them."""
        if order is None or not self.is_by_class:
            return self
        return Temperature(tuple(self.values[index] for index in order))

    def __str__(self) -> str:
        if not self.is_by_class:
            return f"{self.values[0]:.3f}"
        return f"{min(self.values):.3f} to {max(self.values):.3f}, by predicted class"


UNCALIBRATED = Temperature()


def combined(temperatures: Sequence[Temperature]) -> Temperature:
    """The temperature of an ensemble's averaged probabilities: the geometric mean, by class if one has classes.

    Args:
        temperatures: of the models, with the classes in one order.
    """
    if len(temperatures) == 1:
        return temperatures[0]  # exactly: exp(log(x)) differs from some x in the last digit
    num_values = max(len(one.values) for one in temperatures)
    columns = zip(*(one.values if one.is_by_class else one.values * num_values for one in temperatures), strict=True)
    return Temperature(tuple(math.exp(math.fsum(map(math.log, column)) / len(column)) for column in columns))
