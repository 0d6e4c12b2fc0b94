"""Effective batch size, and linear scaling of the learning rate with it."""

from dataclasses import replace

from segnet.config import OptimConfig, known


def scale_lr(optim: OptimConfig, num_images: int) -> OptimConfig:
    """Scale the learning rate linearly with the effective batch size if `optim.scale_lr` is set.

    Linear scaling rule: arXiv 1706.02677, section 2.1. The result's `batch_size` is `num_images`, so a second call
    changes nothing.

    Args:
        num_images: images of an optimizer step, over all processes and accumulated batches.
    """
    if not optim.scale_lr or optim.batch_size is None:
        return optim
    factor = num_images / optim.batch_size
    return replace(optim, lr=known(optim.lr) * factor, min_lr=optim.min_lr * factor, batch_size=num_images)


def step_summary(optim: OptimConfig, batch_size: int, num_processes: int, accumulated: int) -> str:
    """Format one log line: effective batch size, learning rate, and the rate that linear scaling would give.

    Args:
        optim: the result of `scale_lr`.
        batch_size: images per process and batch.
        accumulated: batches per optimizer step.
    """
    num_images = batch_size * num_processes * accumulated
    parts = [str(batch_size)]
    if num_processes > 1:
        parts.append(f"{num_processes} processes")
    if accumulated > 1:
        parts.append(f"{accumulated} batches accumulated")
    product = f" ({' x '.join(parts)})" if len(parts) > 1 else ""
    text = f"images per step: {num_images}{product}; learning rate {known(optim.lr):g}"
    if optim.batch_size in (None, num_images):
        return text
    scaled = known(optim.lr) * num_images / optim.batch_size
    return f"{text}, meant for {optim.batch_size} images; optim.scale_lr=true scales it to {scaled:g}"
