"""Quarter turns and flips as part of the crop.

albumentations turns a crop of 320 x 480 pixels into one of 480 x 320, which no batch can hold. Here the crop is cut
with height and width exchanged where a turn will exchange them again, so that crops of any proportions can be turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight symmetries of a square: exchange rows and columns, then reverse them."""

    transposed: bool = False
    rows_reversed: bool = False
    columns_reversed: bool = False

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Turn an image (H, W, channels) or mask (H, W)."""
        values = values.swapaxes(0, 1) if self.transposed else values
        return values[:: -1 if self.rows_reversed else 1, :: -1 if self.columns_reversed else 1]


ALL = tuple(Turn(*flags) for flags in product((False, True), repeat=3))
# Transforms of albumentations -> the turns that they choose from.
TURNS: dict[str, Sequence[Turn]] = {
    "SquareSymmetry": ALL,
    "D4": ALL,
    # Turning by a quarter is transposing and reversing one axis, turning by a half reversing both.
    "RandomRotate90": tuple(turn for turn in ALL if turn.transposed == (turn.rows_reversed ^ turn.columns_reversed)),
    "Transpose": (Turn(transposed=True),),
}


def before_turns(crop_size: Sequence[int], turns: Sequence[Turn]) -> Sequence[int]:
    """Return the (height, width) of a crop that has `crop_size` after the turns [pixels]."""
    exchanged = sum(turn.transposed for turn in turns) % 2 == 1
    return crop_size[::-1] if exchanged else crop_size


def apply_turns(values: NDArray[Any], turns: Sequence[Turn]) -> NDArray[Any]:
    """Apply turns in their order to an image (H, W, channels) or mask (H, W); OpenCV needs a contiguous result."""
    for turn in turns:
        values = turn.apply(values)
    return np.ascontiguousarray(values)
