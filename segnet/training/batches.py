"""How many images a step has, and the learning rate that follows from it."""

from dataclasses import replace

from segnet.config import OptimConfig


def scale_lr(optim: OptimConfig, num_images: int) -> OptimConfig:
    """The options with the learning rate of a step of `num_images`, where `optim.scale_lr` asks for it.

    Linear scaling (arXiv 1706.02677, section 2.1). `batch_size` is then `num_images`: done twice, it changes nothing.
    """
    if not optim.scale_lr or optim.batch_size is None:
        return optim
    factor = num_images / optim.batch_size
    return replace(optim, lr=optim.lr * factor, min_lr=optim.min_lr * factor, batch_size=num_images)


def step_summary(optim: OptimConfig, batch_size: int, num_processes: int, accumulated: int) -> str:
    """One line: the images of a step, the learning rate, and the one that linear scaling would give.

    Args:
        optim: as `scale_lr` returned it.
        batch_size: images of one process and batch.
        accumulated: batches of a step.
    """
    num_images = batch_size * num_processes * accumulated
    parts = [str(batch_size)]
    if num_processes > 1:
        parts.append(f"{num_processes} processes")
    if accumulated > 1:
        parts.append(f"{accumulated} batches accumulated")
    product = f" ({' x '.join(parts)})" if len(parts) > 1 else ""
    text = f"images a step: {num_images}{product}; learning rate {optim.lr:g}"
    if optim.batch_size in (None, num_images):
        return text
    scaled = optim.lr * num_images / optim.batch_size
    return f"{text}, meant for {optim.batch_size} images: optim.scale_lr=true makes it {scaled:g}"
