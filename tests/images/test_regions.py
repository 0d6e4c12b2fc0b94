"""Small regions get the label of their surroundings: cases by hand, strips, and a slow reference."""

import numpy as np
import pytest

from segnet.images.regions import fill_in_strips, fill_small_regions


def grid(text):
    """A mask from rows of digits."""
    return np.array([[int(character) for character in row] for row in text.split()], np.uint8)


def areas(number, **others):
    """The smallest area of each label."""
    least = np.full(256, number)
    for label, area in others.items():
        least[int(label[1:])] = area
    return least


@pytest.mark.parametrize(
    ("before", "least", "after"),
    [
        ("0000 0100 0000", areas(2), "0000 0000 0000"),  # a speck
        ("1111 1011 1111", areas(2), "1111 1111 1111"),  # a hole
        ("0000 0110 0000", areas(2), "0000 0110 0000"),  # as large as the limit
        ("0010 0100 0000", areas(2), "0000 0000 0000"),  # corners do not connect
        ("00111 00211 00111", areas(2), "00111 00111 00111"),  # 3 sides of label 1, 1 of label 0
        ("0000 0211 0011 0011", areas(2), "0000 0011 0011 0011"),  # 3 sides of label 0
        ("0021 0011 0011", areas(2), "0011 0011 0011"),  # 1 side of label 0, 2 of label 1
        ("3322 3302 3322", areas(2), "3322 3322 3322"),
        ("33122 33122", areas(3), "33222 33222"),  # 2 sides each: the smaller label wins
        ("00000 01200 00000", areas(2), "00000 00000 00000"),  # specks do not exchange their labels
        ("11111 12321 11111", areas(2), "11111 11111 11111"),
        ("111111 122341 111111", areas(3), "111111 111111 111111"),
        ("1 2 3", areas(2), "1 2 3"),  # nothing stays
        ("0000 0990 0000", areas(5, _9=0), "0000 0990 0000"),  # a label whose regions always stay
        ("9999 9129 9999", areas(5, _9=0), "9999 9999 9999"),  # and which others may get
        ("0000 0120 0000", areas(0, _1=2), "0000 0020 0000"),  # 3 sides of label 0, 1 of label 2
    ],
)
def test_cases_by_hand(before, least, after):
    np.testing.assert_array_equal(fill_small_regions(grid(before), least), grid(after))


def test_a_cluster_is_filled_from_its_rim():
    """The middle of three specks in a row has no neighbor that stays, until its neighbors have been replaced."""
    rows = "00000 05550 05650 05550 00000"
    np.testing.assert_array_equal(fill_small_regions(grid(rows), areas(9)), np.zeros((5, 5)))
    # Region 5 has 8 pixels and stays: region 6 gets its label.
    np.testing.assert_array_equal(fill_small_regions(grid(rows), areas(8)), grid("00000 05550 05550 05550 00000"))


def by_flooding(mask, least):
    """The definition, pixel by pixel."""
    height, width = mask.shape
    region = -np.ones(mask.shape, int)
    members = []
    for start in np.ndindex(mask.shape):
        if region[start] < 0:
            region[start], found = len(members), [start]
            for row, column in found:
                for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                    inside = 0 <= place[0] < height and 0 <= place[1] < width
                    if inside and region[place] < 0 and mask[place] == mask[start]:
                        region[place] = len(members)
                        found.append(place)
            members.append(found)
    labels = [int(mask[found[0]]) for found in members]
    stays = [len(found) >= least[label] for found, label in zip(members, labels, strict=True)]
    while True:
        new = {}
        for index, found in enumerate(members):
            votes = {}
            for row, column in found if not stays[index] else ():
                for place in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                    if 0 <= place[0] < height and 0 <= place[1] < width and stays[region[place]]:
                        label = labels[region[place]]
                        votes[label] = votes.get(label, 0) + 1
            if votes:
                new[index] = min(votes, key=lambda label: (-votes[label], label))
        if not new:
            return np.array(labels)[region]
        for index, label in new.items():
            labels[index], stays[index] = label, True


@pytest.mark.parametrize("seed", range(6))
def test_random_masks_equal_the_definition_in_strips_of_any_height(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 24, 2)
    mask = rng.integers(0, 2 + seed % 3, (height, width)).astype(np.uint16)
    mask[: height // 2, : width // 2] = 300  # a region that is large
    least = np.zeros(301, int)
    least[:5] = rng.integers(0, 12, 5)
    expected = by_flooding(mask, least)
    for pixels in (10**6, 1, width, 3 * width):
        found = fill_small_regions(mask, least, pixels)
        assert found.dtype == mask.dtype
        np.testing.assert_array_equal(found, expected)


def test_a_mask_without_small_regions_is_returned_unchanged_and_not_written():
    mask = grid("0011 0011")
    assert fill_small_regions(mask, areas(4)) is mask
    assert fill_small_regions(mask, areas(0)) is mask
    written = []
    assert not fill_in_strips(
        mask.shape, lambda top, end: mask[top:end], lambda top, rows: written.append(top), areas(4), 4
    )
    assert not written


def test_a_spiral_over_many_strips_is_one_region():
    mask = np.zeros((41, 41), np.uint8)
    low, high = 0, 40
    while high - low > 3:  # each ring is open at one place, where it continues inwards
        mask[low, low : high + 1] = mask[low : high + 1, high] = mask[high, low : high + 1] = 1
        mask[low + 2 : high + 1, low] = 1
        mask[low + 2, low : low + 3] = 1
        low, high = low + 2, high - 2
    size = int((mask == 1).sum())
    for least, stays in ((size, True), (size + 1, False)):
        found = fill_small_regions(mask, areas(0, _1=least), 41)
        assert (found == 1).any() == stays
