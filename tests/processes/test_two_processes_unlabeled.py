"""Two real processes on the CPU (gloo) with images without masks; see test_two_processes."""

import pytest
import torch
from photos import write_photos
from two_processes import OPTIONS, TWO, outcome, segnet

pytestmark = pytest.mark.slow


def test_unlabeled_images_of_two_processes_equal_those_of_one_with_twice_the_batch(tmp_path):
    """Without CutMix and dropped channels, which each process draws for its own images."""
    photos = write_photos(tmp_path / "photos", 9)
    options = [
        f"unlabeled={photos}",
        "consistency.threshold=0.2",
        "consistency.cutmix=0",
        "consistency.channel_dropout=0",
    ]
    options += ["ema.decay=0.9"]  # the teacher
    found = []
    for name, sizes in (("two", [*TWO, "data.batch_size=2"]), ("one", [*OPTIONS, "data.batch_size=4"])):
        (tmp_path / name).mkdir()
        code, output = segnet([*sizes, *options], tmp_path / name)
        assert code == 0, output
        found.append(outcome(tmp_path / name))
    (weights, results), (expected, once) = found
    for key in expected:
        torch.testing.assert_close(weights[key], expected[key], rtol=1e-4, atol=1e-5)
    assert results["unlabeled_images"] == once["unlabeled_images"] == 9
    assert once["confident_pixels"] > 0.1


def test_two_processes_with_unlabeled_images_resume_exactly(tmp_path):
    """With batch norm: each process has running statistics of its own, but one teacher."""
    photos = write_photos(tmp_path / "photos", 9)
    options = [*TWO, "norm.name=batch", f"unlabeled={photos}", "consistency.threshold=0.2", "ema.decay=0.9"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder, lengths in ((whole, [[]]), (parts, [["trainer.max_steps=4"], []])):
        folder.mkdir()
        for more in lengths:
            last = [f"checkpoint={path}" for path in folder.glob("runs/*/last.ckpt")]
            code, output = segnet([*options, "optim.power=0", *more, *last], folder)
            assert code == 0, output
    (weights, _), (expected, _) = outcome(parts), outcome(whole)
    assert all(torch.equal(weights[key], expected[key]) for key in expected)
