"""A non-finite loss stops the run and names the batch's files, or the step is skipped."""

import logging

import pytest
from resumption import assert_equal, configuration

from segnet.config import OptimConfig
from segnet.errors import ConfigError
from segnet.models.checkpoint import read_checkpoint
from segnet.training.callbacks.nonfinite import MOST_IN_A_ROW, NonFiniteLoss
from segnet.training.task import SegmentationTask
from segnet.workflows.train import train


def losing(monkeypatch, steps):
    """Make the loss, gradients and running statistics of some training steps, from 0, NaN."""
    calls, original = [], SegmentationTask.training_step

    def training_step(self, batch, batch_idx):
        calls.append(batch["name"])
        loss = original(self, batch, batch_idx)
        if len(calls) - 1 in steps:
            for name, buffer in self.named_buffers():
                if name.endswith("running_mean"):
                    buffer.data.fill_(float("nan"))  # bypasses autograd, which needs the value later
            return loss * float("nan")
        return loss

    monkeypatch.setattr(SegmentationTask, "training_step", training_step)
    return calls


def test_a_non_finite_loss_stops_the_run_and_names_the_files(tmp_path, monkeypatch):
    names = losing(monkeypatch, {3})
    with pytest.raises(ConfigError, match=r"the loss is nan at step 3 \(epoch 0\).*lower optim\.lr") as caught:
        train(configuration({"log_every_n_steps": 50}), tmp_path)
    assert len(names) == 4
    assert all(name in str(caught.value) for name in names[3])
    weights = read_checkpoint(tmp_path / "last.ckpt")["state_dict"]  # of step 2
    assert all(value.isfinite().all() for value in weights.values() if value.is_floating_point())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_skipped_step_leaves_the_weights_unchanged(accumulate, tmp_path, monkeypatch, caplog):
    """The last step is skipped: the weights equal those of the step before."""
    steps = {"max_epochs": -1, "accumulate_grad_batches": accumulate, "limit_val_batches": 0}
    finished = []
    for number, last in (("with", 3), ("without", 2)):
        with monkeypatch.context() as patch:
            losing(patch, {2 * accumulate} if number == "with" else set())
            flat = OptimConfig(lr=0.05, power=0)
            config = configuration({**steps, "max_steps": last}, non_finite="skip", optim=flat)
            train(config, tmp_path / number)
        finished.append(read_checkpoint(tmp_path / number / "last.ckpt"))
    assert_equal(finished[0]["state_dict"], finished[1]["state_dict"])
    assert_equal(finished[0]["optimizer_states"][0]["state"], finished[1]["optimizer_states"][0]["state"])
    assert finished[0]["global_step"] == 3
    assert "the step is skipped" in caplog.text


def test_many_skipped_steps_in_a_row_stop_the_run(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "segnet")
    losing(monkeypatch, set(range(2, 99)))
    with pytest.raises(ConfigError, match=rf"after {MOST_IN_A_ROW} skipped steps in a row"):
        train(configuration(non_finite="skip"), tmp_path)
    assert caplog.text.count("the step is skipped") == MOST_IN_A_ROW


def test_a_resumed_run_counts_on_from_the_steps_that_were_skipped_before(tmp_path, monkeypatch, caplog):
    """Stopped at any step of a lost stretch, it gives up at the very step at which it would have given up."""
    caplog.set_level(logging.WARNING, "segnet")
    stopped, lost_from = 5, 2
    with monkeypatch.context() as patch:
        losing(patch, set(range(lost_from, 99)))
        train(configuration({"max_steps": stopped, "limit_val_batches": 0}, non_finite="skip"), tmp_path)
    last = tmp_path / "last.ckpt"
    assert read_checkpoint(last)["callbacks"]["NonFiniteLoss"] == {"in_a_row": stopped - lost_from}
    calls = losing(monkeypatch, set(range(99)))
    config = configuration({"max_steps": 30, "limit_val_batches": 0}, non_finite="skip", checkpoint=str(last))
    with pytest.raises(
        ConfigError, match=rf"at step {lost_from + MOST_IN_A_ROW} .*{MOST_IN_A_ROW} skipped steps in a row"
    ):
        train(config, tmp_path)
    assert len(calls) == lost_from + MOST_IN_A_ROW - stopped + 1


def test_skip_changes_nothing_while_losses_are_finite(tmp_path):
    for action in ("stop", "skip"):
        train(configuration({"max_epochs": 1}, non_finite=action), tmp_path / action)
    one, other = (read_checkpoint(tmp_path / action / "last.ckpt")["state_dict"] for action in ("stop", "skip"))
    assert_equal(one, other)


def test_an_unknown_non_finite_action_is_refused():
    with pytest.raises(ConfigError, match="non_finite=ignore is unknown: choose from stop, skip"):
        NonFiniteLoss("ignore")
