"""A checkpoint whose training state is malformed is refused in one line, and other errors stay what they are."""

from pathlib import Path

import pytest
import torch
from tiny import configuration

from segnet.errors import CheckpointError, DataError
from segnet.training.callbacks.restored import Restored
from segnet.workflows.train import train

PATH = Path("last.ckpt")


def test_errors_before_the_first_step_of_a_resumed_run_name_the_checkpoint():
    with pytest.raises(CheckpointError, match=r"last\.ckpt: the state of its training cannot be restored \(KeyError"):
        Restored().explain(KeyError("state"), PATH)


def test_other_errors_are_left_alone():
    Restored().explain(KeyError("state"), None)
    Restored().explain(DataError("a.png: is damaged"), PATH)
    Restored().explain(RuntimeError("CUDA error"), PATH)
    begun = Restored()
    begun.on_train_start(None, None)
    begun.explain(KeyError("state"), PATH)


@pytest.mark.parametrize(
    ("key", "value"),
    [("optimizer_states", [1]), ("optimizer_states", [{}]), ("lr_schedulers", [3]), ("loops", 5), ("callbacks", [1])],
)
def test_a_malformed_training_state_ends_in_one_line(run, tmp_path, key, value):
    content = torch.load(run[0] / "last.ckpt", weights_only=True)
    content[key] = value
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: ") as error:
        train(configuration(checkpoint=str(tmp_path / "last.ckpt")), tmp_path / "out")
    assert "\n" not in str(error.value)
