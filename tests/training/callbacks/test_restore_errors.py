"""A malformed training state gives a one-line error that names the checkpoint; other errors pass unchanged."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny import configuration

from segnet.errors import CheckpointError, DataError
from segnet.training.callbacks.restore_errors import RestoreErrors
from segnet.workflows.train import train

PATH = Path("last.ckpt")


def test_errors_before_the_first_step_of_a_resumed_run_name_the_checkpoint():
    with pytest.raises(CheckpointError, match=r"last\.ckpt: its training state cannot be restored \(KeyError"):
        RestoreErrors().explain(KeyError("state"), PATH)


def test_other_errors_do_not_name_the_checkpoint():
    RestoreErrors().explain(KeyError("state"), None)
    RestoreErrors().explain(DataError("a.png: is damaged"), PATH)
    RestoreErrors().explain(RuntimeError("CUDA error"), PATH)
    begun = RestoreErrors()
    begun.on_train_start(SimpleNamespace(optimizers=[]), None)
    begun.explain(KeyError("state"), PATH)


@pytest.mark.parametrize(
    ("key", "value"),
    [("optimizer_states", [1]), ("optimizer_states", [{}]), ("lr_schedulers", [3]), ("loops", 5), ("callbacks", [1])],
)
def test_a_malformed_training_state_is_a_one_line_error(run, tmp_path, key, value):
    content = torch.load(run[0] / "last.ckpt", weights_only=True)
    content[key] = value
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt: ") as error:
        train(configuration(checkpoint=str(tmp_path / "last.ckpt")), tmp_path / "out")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [3, "x", torch.zeros(2, 3, 4)])
def test_a_value_that_only_the_first_step_uses_is_a_one_line_error(run, tmp_path, value):
    content = torch.load(run[0] / "last.ckpt", weights_only=True)
    state = content["optimizer_states"][0]["state"]
    assert "momentum_buffer" in state[5]
    state[5]["momentum_buffer"] = value
    torch.save(content, tmp_path / "last.ckpt")
    config = configuration(checkpoint=str(tmp_path / "last.ckpt"))
    config.trainer["max_epochs"] = 3
    with pytest.raises(CheckpointError, match=r"last\.ckpt: its training state cannot be restored") as error:
        train(config, tmp_path / "out")
    assert "\n" not in str(error.value)
