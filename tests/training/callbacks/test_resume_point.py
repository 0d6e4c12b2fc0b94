"""Translation of resume points to Lightning's counters; test_last_checkpoint tests exact resumption."""

import copy

import pytest

from segnet.training.callbacks.resume_point import ResumePoint, resume_point_of, set_counters


def counters(epochs_ready=3, epochs_processed=2, batches=5, is_last=True):
    """Return Lightning's counters after the last batch of the third epoch."""
    counts = {"ready": batches, "started": batches, "processed": batches, "completed": batches}
    epochs = {"ready": epochs_ready, "started": epochs_ready, "processed": epochs_processed, "completed": 2}
    return {
        "epoch_progress": {"total": dict(epochs), "current": dict(epochs)},
        "epoch_loop.state_dict": {"_batches_that_stepped": 14},
        "epoch_loop.batch_progress": {
            "total": {**counts, "completed": 15},
            "current": dict(counts),
            "is_last_batch": is_last,
        },
        "epoch_loop.val_loop.batch_progress": {"total": dict(counts), "current": dict(counts), "is_last_batch": True},
    }


def test_counters_within_an_epoch():
    loops = counters()
    set_counters(loops, ResumePoint(2, 3, False, 13))
    under_way = {"ready": 3, "started": 3, "processed": 2, "completed": 2}
    assert loops["epoch_progress"] == {"total": under_way, "current": under_way}
    done = dict.fromkeys(("ready", "started", "processed", "completed"), 3)
    assert loops["epoch_loop.batch_progress"]["current"] == done
    assert loops["epoch_loop.batch_progress"]["total"] == dict.fromkeys(done, 15)
    assert loops["epoch_loop.batch_progress"]["is_last_batch"] is False
    assert loops["epoch_loop.state_dict"]["_batches_that_stepped"] == 13
    assert loops["epoch_loop.val_loop.batch_progress"]["total"] == dict.fromkeys(done, 0)


def test_a_due_validation_counts_as_started():
    loops = counters()
    set_counters(loops, ResumePoint(2, 5, True, 14))
    validation = loops["epoch_loop.val_loop.batch_progress"]
    assert validation["total"] == {"ready": 1, "started": 1, "processed": 0, "completed": 0}
    assert set(validation["current"].values()) == {0}
    assert loops["epoch_loop.batch_progress"]["is_last_batch"] is True


@pytest.mark.parametrize(
    ("loops", "expected"),
    [
        (counters(3, 3), ResumePoint(3, logged_steps=14)),  # Lightning's last.ckpt, after an epoch
        (counters(3, 2), ResumePoint(3, logged_steps=15)),  # its best.ckpt, after the validation in it
    ],
)
def test_resume_points_are_derived_for_old_checkpoints(loops, expected):
    before = copy.deepcopy(loops)
    assert resume_point_of(loops) == expected
    assert loops == before
