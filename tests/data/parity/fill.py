"""Deterministic weights for the parity fixtures, the same from any framework: each depends on its own name alone.

`tensor(name, shape)` takes PaddleSeg's own parameter name (the key in a .pdparams file) and its shape there.
"""

# The stored outputs depend on RandomState: its stream is frozen, that of newer generators is not.
import zlib

import numpy as np


def tensor(name: str, shape) -> np.ndarray:
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    shape = tuple(shape)
    if name.endswith("_variance"):
        x = rng.uniform(0.5, 1.5, shape)
    elif name.endswith("_mean"):
        x = rng.standard_normal(shape) * 0.1
    elif len(shape) == 4:  # convolution kernel, (out, in / groups, kh, kw)
        x = rng.standard_normal(shape) * np.sqrt(2.0 / np.prod(shape[1:]))
    elif "batch_norm" in name and name.endswith("weight"):
        x = rng.uniform(0.5, 1.0, shape)
    else:  # batch-norm and convolution biases
        x = rng.standard_normal(shape) * 0.1
    return x.astype(np.float32)


def image(height: int, width: int, batch: int = 1) -> np.ndarray:
    """The input of every fixture: float32, (batch, 3, height, width)."""
    return np.random.RandomState(20).standard_normal((batch, 3, height, width)).astype(np.float32)
