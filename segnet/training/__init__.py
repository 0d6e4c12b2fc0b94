"""The training loop on Lightning: task, trainer, optimizers, metrics, callbacks, run folders."""
