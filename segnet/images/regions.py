"""Connected regions of a mask, and the replacement of small ones by their surroundings.

A region is a maximal set of pixels of one label that are connected by their sides (4-connected, as in
`segnet.inference.polygons`). A mask is read in strips of rows: regions are joined across them, so that the result does
not depend on the strips, and a mask need not fit in memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STRIP_PIXELS = 2**22  # pixels of a strip: its labels take 16 bytes each, and 50 while they are computed

LabelMask = NDArray[np.uint8 | np.uint16]
ReadRows = Callable[[int, int], LabelMask]  # first row, end -> (rows, W)
WriteRows = Callable[[int, LabelMask], None]  # first row, (rows, W)
Indices = NDArray[np.int64]


def fill_small_regions(mask: LabelMask, least: Indices, strip_pixels: int = STRIP_PIXELS) -> LabelMask:
    """Replace the small regions of a mask by their surroundings.

    1. A region is small if it has fewer pixels than `least` of its label. All others stay as they are.
    2. A small region that touches regions that stay gets the label that it touches most often: the number of pixel
       sides that they share is added up by label. Of equal labels the smaller one wins. The border of the image does
       not count, and neither do other small regions: two specks side by side do not exchange their labels.
    3. The regions replaced in step 2 now stay. The step is repeated until no small region touches one that stays.
       Small regions are replaced together in each step, so no order has an influence.

    A small region without any such neighbor stays: the mask consists of small regions only.

    Args:
        mask: (H, W) labels.
        least: smallest area by label [pixels], for all values of the mask; 0 or 1: regions of that label always stay.
        strip_pixels: pixels that are labeled at a time; without influence on the result.

    Returns:
        (H, W), of the same type; `mask` itself if nothing changes.
    """
    if not mask.size or not (least > 1).any():
        return mask
    filled: LabelMask | None = None

    def write(top: int, rows: LabelMask) -> None:
        nonlocal filled
        filled = np.empty_like(mask) if filled is None else filled
        filled[top : top + len(rows)] = rows

    height, width = mask.shape
    changes = fill_in_strips((height, width), lambda top, end: mask[top:end], write, least, strip_pixels)
    return filled if changes and filled is not None else mask


def fill_in_strips(
    size: tuple[int, int], read: ReadRows, write: WriteRows, least: Indices, strip_pixels: int = STRIP_PIXELS
) -> bool:
    """Do what `fill_small_regions` does, for a mask that need not fit in memory.

    The regions and their borders are kept: a few hundred bytes a region, besides one strip.

    Args:
        size: (height, width) of the mask [pixels].
        read: returns rows of the mask; each row is requested twice.
        write: receives the rows of the result, from top to bottom. It is not called if nothing changes.
        least: as in `fill_small_regions`.
        strip_pixels: pixels that are labeled at a time.

    Returns:
        Whether a region was replaced.
    """
    strips = list(_strips_of_rows(size, strip_pixels))
    kept: tuple[NDArray[np.int32], int] | None = None
    graph = _Pieces(least)
    for top, end in strips:
        rows = read(top, end)
        kept = _labeled(rows)
        graph.add(rows, *kept)
    labels, new = graph.replaced()
    if np.array_equal(labels, new):
        return False
    first = 0
    for top, end in strips:
        regions, count = kept if kept is not None and len(strips) == 1 else _labeled(read(top, end))
        write(top, new[first : first + count][regions])
        first += count
    return True


def _strips_of_rows(size: tuple[int, int], strip_pixels: int) -> Iterator[tuple[int, int]]:
    height, width = size
    step = max(1, strip_pixels // max(1, width))
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _labeled(mask: LabelMask) -> tuple[NDArray[np.int32], int]:
    """Number the regions of a mask from 0: (H, W), and their number.

    OpenCV knows foreground and background only. On a grid of twice the size, pixels are foreground, and so are the
    places between two pixels of one label. One call then finds the regions of all labels.
    """
    height, width = mask.shape
    grid = np.zeros((2 * height - 1, 2 * width - 1), np.uint8)
    grid[::2, ::2] = 1
    grid[::2, 1::2] = mask[:, 1:] == mask[:, :-1]
    grid[1::2, ::2] = mask[1:] == mask[:-1]
    count, numbers = cv2.connectedComponents(grid, connectivity=4, ltype=cv2.CV_32S)
    return np.asarray(numbers[::2, ::2] - 1, np.int32), count - 1


@dataclass(frozen=True, slots=True)
class _Borders:
    """Pairs of neighboring regions, in both directions, with the number of pixel sides between them."""

    source: Indices
    target: Indices
    sides: Indices


class _Pieces:
    """The regions of all strips: a region in several strips consists of several pieces until `replaced` joins them.

    Args:
        least: smallest area by label [pixels].
    """

    def __init__(self, least: Indices) -> None:
        self._least = least
        self._labels: list[LabelMask] = []
        self._areas: list[Indices] = []
        self._pairs: list[Indices] = []  # (3, N): piece, neighboring piece, sides
        self._joined: list[Indices] = []  # (2, N): pieces of one region
        self._count = 0
        self._last: tuple[LabelMask, Indices] | None = None  # labels and pieces of the last row

    def add(self, mask: LabelMask, regions: NDArray[np.int32], count: int) -> None:
        """Add the next strip, with its regions as `_labeled` numbers them."""
        labels = np.empty(count, mask.dtype)
        labels[regions.ravel()] = mask.ravel()
        areas = np.bincount(regions.ravel(), minlength=count)
        is_small = (areas < self._least[labels])[regions]
        for one, other in ((np.s_[:, 1:], np.s_[:, :-1]), (np.s_[1:], np.s_[:-1])):
            # Pieces that are large enough on their own need no border with each other.
            where = (regions[one] != regions[other]) & (is_small[one] | is_small[other])
            self._add_pairs(*(regions[side][where].astype(np.int64) + self._count for side in (one, other)))
        first = regions[0].astype(np.int64) + self._count
        if self._last is not None:
            before, pieces = self._last
            same = before == mask[0]
            self._joined.append(np.unique(np.stack((pieces[same], first[same])), axis=1))
            self._add_pairs(pieces[~same], first[~same])
        self._last = mask[-1].copy(), regions[-1].astype(np.int64) + self._count
        self._labels.append(labels)
        self._areas.append(areas)
        self._count += count

    def _add_pairs(self, one: Indices, other: Indices) -> None:
        if not len(one):
            return
        base = np.minimum(one, other)
        first = int(base.min())
        span = int(np.maximum(one, other).max()) + 1 - first
        keys, sides = np.unique((base - first) * span + np.maximum(one, other) - first, return_counts=True)
        self._pairs.append(np.stack((keys // span + first, keys % span + first, sides)))

    def replaced(self) -> tuple[LabelMask, LabelMask]:
        """The label of each piece, before and after small regions are replaced."""
        labels = np.concatenate(self._labels)
        region = _joined_pieces(self._count, self._joined)
        areas = np.bincount(region, weights=np.concatenate(self._areas)).astype(np.int64)
        region_labels = np.empty(len(areas), labels.dtype)
        region_labels[region] = labels
        stays = areas >= self._least[region_labels]
        if stays.all():
            return labels, labels
        pairs = np.concatenate(self._pairs, axis=1) if self._pairs else np.empty((3, 0), np.int64)
        one, other, sides = region[pairs[0]], region[pairs[1]], pairs[2]
        borders = _Borders(np.concatenate((one, other)), np.concatenate((other, one)), np.concatenate((sides, sides)))
        return labels, _settled(region_labels, stays, borders)[region]


def _joined_pieces(count: int, joined: list[Indices]) -> Indices:
    """Number the regions from 0 that pairs of pieces form: the region of each piece."""
    if not joined:
        return np.arange(count)
    parents = list(range(count))

    def root(piece: int) -> int:
        while parents[piece] != piece:
            parents[piece] = parents[parents[piece]]
            piece = parents[piece]
        return piece

    for pairs in joined:
        for one, other in pairs.T.tolist():
            low, high = sorted((root(one), root(other)))
            parents[high] = low
    roots = np.array(parents)
    while not np.array_equal(roots, further := roots[roots]):
        roots = further
    return np.unique(roots, return_inverse=True)[1].astype(np.int64)


def _settled(labels: LabelMask, stays: NDArray[np.bool_], borders: _Borders) -> LabelMask:
    """Steps 2 and 3 of `fill_small_regions`: the new label of each region."""
    labels, stays = labels.copy(), stays.copy()
    open_ones = ~stays[borders.source]
    source, target, sides = borders.source[open_ones], borders.target[open_ones], borders.sides[open_ones]
    num_labels = int(labels.max()) + 1
    while (usable := stays[target] & ~stays[source]).any():
        keys, place = np.unique(source[usable] * num_labels + labels[target[usable]], return_inverse=True)
        totals = np.bincount(place, weights=sides[usable])
        regions, chosen = np.divmod(keys, num_labels)
        order = np.lexsort((chosen, -totals, regions))
        found, first = np.unique(regions[order], return_index=True)
        labels[found] = chosen[order][first].astype(labels.dtype)
        stays[found] = True
    return labels
