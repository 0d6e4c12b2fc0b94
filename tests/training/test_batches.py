import pytest

from segnet.config import OptimConfig
from segnet.training.batches import scale_lr, step_summary


def test_the_learning_rate_scales_once_with_the_effective_batch_size():
    optim = OptimConfig(lr=0.01, min_lr=1e-4, batch_size=8, scale_lr=True)
    scaled = scale_lr(optim, 32)
    assert (scaled.lr, scaled.min_lr, scaled.batch_size) == (pytest.approx(0.04), pytest.approx(4e-4), 32)
    assert scale_lr(scaled, 32) == scaled


def test_the_learning_rate_is_unchanged_without_scale_lr():
    optim = OptimConfig(lr=0.01, batch_size=8)
    assert scale_lr(optim, 32) == optim


@pytest.mark.parametrize(
    ("optim", "counts", "line"),
    [
        (OptimConfig(lr=0.01, batch_size=None), (4, 1, 1), "images per step: 4; learning rate 0.01"),
        (OptimConfig(lr=0.01, batch_size=8), (2, 4, 1), "images per step: 8 (2 x 4 processes); learning rate 0.01"),
        (
            OptimConfig(lr=0.01, batch_size=8),
            (2, 1, 2),
            "images per step: 4 (2 x 2 batches accumulated); learning rate 0.01, meant for 8 images; "
            "optim.scale_lr=true scales it to 0.005",
        ),
    ],
)
def test_the_summary_gives_the_effective_batch_size_and_the_scaled_learning_rate(optim, counts, line):
    assert step_summary(optim, *counts) == line
