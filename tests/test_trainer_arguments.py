"""Trainer options that are refused before Lightning is imported; tests/training/test_trainer_options.py trains."""

import pytest

from segnet.errors import ConfigError
from segnet.trainer_arguments import EVALUATION_ARGUMENTS, accepted_arguments, check_trainer_arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_stepss": 2}, r"^trainer\.max_stepss is not an option of segnet's Trainer\. Did you mean 'max_steps'\?"),
        ({"max_time": "00:02:00:00"}, "use budget=2h, whose schedule ends in time$"),
        ({"callbacks": 1}, r"^trainer\.callbacks is not available: it takes Python objects"),
        ({"strategy": "ddpp"}, r"^trainer\.strategy=ddpp is not available\. Did you mean 'ddp'\?"),
        ({"precision": 8}, r"^trainer\.precision=8 is not available\."),
        ({"val_check_interval": "1h"}, "a resumed run cannot repeat time-based validations"),
        ({"accumulate_grad_batches": 0}, "must be 1 or more$"),
    ],
)
def test_a_wrong_argument_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        check_trainer_arguments(options)


def test_an_evaluation_refuses_and_suggests_by_its_own_arguments():
    with pytest.raises(ConfigError, match=r"^trainer\.max_steps is for training only"):
        check_trainer_arguments({"max_steps": 2}, evaluates=True)
    with pytest.raises(ConfigError, match=r"Did you mean 'accelerator'\?") as caught:
        check_trainer_arguments({"acelerator": "cpu"}, evaluates=True)
    assert "max_steps" not in str(caught.value)
    check_trainer_arguments(dict.fromkeys(["accelerator", "devices"], 1), evaluates=True)


def test_an_evaluation_accepts_fewer_arguments():
    assert set(accepted_arguments(evaluates=True)) == set(EVALUATION_ARGUMENTS) < set(accepted_arguments())
