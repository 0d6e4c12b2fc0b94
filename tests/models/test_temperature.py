"""A temperature is one number, or one per predicted class; that of an ensemble is the geometric mean."""

import math

import pytest
import torch

from segnet.errors import ConfigError
from segnet.models.temperature import UNCALIBRATED, Temperature, combined


def test_a_file_without_a_temperature_has_the_temperature_1():
    assert Temperature.read(None, 3) == UNCALIBRATED
    assert UNCALIBRATED.is_one
    assert str(UNCALIBRATED) == "1.000"


@pytest.mark.parametrize("values", [1.5, "1.5", [], [1, 2], [0.0], [-1.0], [math.nan], [math.inf], ["1"], [True], {}])
def test_other_values_are_refused(values):
    with pytest.raises(ConfigError, match="temperature="):
        Temperature.read(values, 3)


def test_each_pixel_has_the_temperature_of_its_predicted_class():
    by_class = Temperature.read([1.0, 2.0, 4.0], 3)
    predicted = torch.tensor([[2, 0], [1, 1]])
    assert by_class.of_pixels(predicted).tolist() == [[4.0, 1.0], [2.0, 2.0]]
    assert Temperature((1.5,)).of_pixels(predicted) == 1.5
    assert str(by_class) == "1.000 to 4.000, by predicted class"


def test_the_temperature_of_an_ensemble_is_the_geometric_mean():
    assert combined([Temperature((1.0,)), Temperature((4.0,))]).values == pytest.approx((2.0,))
    stored = Temperature((0.24206929753808068,))  # exp(log(x)) is another number
    assert combined([stored]) == stored
    mixed = combined([Temperature((2.0,)), Temperature((2.0, 8.0, 0.5))])
    assert mixed.values == pytest.approx((2.0, 4.0, 1.0))


def test_classes_in_another_order_keep_their_temperatures():
    assert Temperature((1.0, 2.0, 4.0)).in_order([2, 0, 1]).values == (4.0, 1.0, 2.0)
    assert Temperature((1.5,)).in_order([2, 0, 1]).values == (1.5,)
    assert Temperature((1.0, 2.0)).in_order(None).values == (1.0, 2.0)
