"""The order of training samples: it depends on (seed, epoch) only, not on processes or workers.

Images of rare classes can come several times per epoch, by the repeat factors of LVIS (Gupta, Dollár and Girshick,
2019, arXiv 1908.03195, appendix): a class in a fraction f of the images has the factor max(1, sqrt(threshold / f)); an
image has the largest factor of its classes. The fractional part of a factor is a random choice per epoch. Here the
choice keeps the number of samples of an epoch constant.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield (epoch, number) in a random order of (seed, epoch); each of n processes takes every n-th.

    A number is the index of an image. When the image is repeated in an epoch, the dataset's length is added each time.

    Args:
        length: length of the dataset.
        seed: seed of the order.
        rank, num_processes: rank of this process, and the world size.
        repeats: repeat factor of each image, 1 or more; None: each image once.
        fixed_order: repeat the first epoch's order in every epoch.
    """

    def __init__(
        self,
        length: int,
        seed: int,
        rank: int = 0,
        num_processes: int = 1,
        repeats: Sequence[float] | NDArray[np.float64] | None = None,
        fixed_order: bool = False,
    ) -> None:
        self._length = length
        self._seed = seed
        self._rank = rank
        self._num_processes = num_processes
        self._repeats = None if repeats is None else np.asarray(repeats, float)
        self._fixed_order = fixed_order
        self._epoch = 0
        self._resumed: tuple[int, int] | None = None  # epoch, samples

    def resume(self, epoch: int, num_samples: int) -> None:
        """Resume within an epoch: skip the samples that this process has already seen, once."""
        self._epoch = epoch
        self._resumed = (epoch, num_samples)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self._epoch = epoch

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return self._epoch

    def of_all(self, place: int) -> int:
        """Return the place in an order over all processes of this process's sample at `place`."""
        return place * self._num_processes + self._rank

    @property
    def total(self) -> int:
        """Samples of an epoch, over all processes."""
        if self._repeats is None:
            return self._length
        whole = np.floor(self._repeats)
        return int(whole.sum()) + int((self._repeats - whole).sum())

    def __len__(self) -> int:
        return self.total // self._num_processes

    def __iter__(self) -> Iterator[tuple[int, int]]:
        rng = np.random.default_rng([self._seed, 0 if self._fixed_order else self._epoch])
        order = rng.permutation(self._length if self._repeats is None else self._repeated(rng, self._repeats))
        mine = order[: len(self) * self._num_processes][self._rank :: self._num_processes]
        if self._resumed and self._resumed[0] == self._epoch:
            mine = mine[self._resumed[1] :]
        return iter([(self._epoch, int(number)) for number in mine])

    def _repeated(self, rng: np.random.Generator, repeats: NDArray[np.float64]) -> NDArray[np.int64]:
        """The numbers of an epoch: each image as often as the whole part of its factor, some once more.

        Systematic sampling chooses those: the fractional parts are laid end to end, and each point of a regular grid
        with a random offset selects an image. Their number is always the same.
        """
        copies = np.floor(repeats).astype(np.int64)
        order = rng.permutation(self._length)
        ends = np.cumsum((repeats - copies)[order])
        num_more = self.total - int(copies.sum())
        if num_more:
            grid = (np.arange(num_more) + rng.random()) * (ends[-1] / num_more)
            np.add.at(copies, order[np.searchsorted(ends, grid, side="right").clip(max=self._length - 1)], 1)
        first = np.cumsum(copies) - copies
        again = np.arange(copies.sum()) - np.repeat(first, copies)
        numbers: NDArray[np.int64] = np.repeat(np.arange(self._length), copies) + self._length * again
        return numbers


def class_factors(present: Sequence[Collection[int]], threshold: float) -> dict[int, float]:
    """Repeat factor of each label, 1 or more.

    Args:
        present: the labels of each image.
        threshold: fraction of images below which a label is rare, 0-1.
    """
    images = Counter(label for labels in present for label in labels)
    return {label: max(1.0, float(np.sqrt(threshold * len(present) / number))) for label, number in images.items()}


def repeat_factors(present: Sequence[Collection[int]], threshold: float) -> NDArray[np.float64]:
    """Repeat factor of each image: (images,), 1 or more. Arguments as in `class_factors`."""
    factors = class_factors(present, threshold)
    return np.array([max((factors[label] for label in labels), default=1.0) for labels in present])
