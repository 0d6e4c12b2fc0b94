"""The limit of one class per pixel against a search over all assignments."""

import pytest
from multilabel import NUM_VAL, limit_of_one_class, overlaps

from segnet.data.datasets.shapes import Shapes


@pytest.mark.parametrize("counts", [(10, 5, 3), (2, 9, 7), (0, 4, 4), (6, 6, 0)])
def test_no_assignment_of_the_overlap_is_better(counts):
    first, second, both = counts
    found = limit_of_one_class(counts)
    every = [((first + n) / (first + both), (second + both - n) / (second + both)) for n in range(both + 1)]
    assert sum(found) == pytest.approx(max(map(sum, every)))
    assert any(found == pytest.approx(pair) for pair in every)


def test_the_overlap_matters():
    counts = overlaps(Shapes("val", num_val=10, task="multilabel"))
    assert NUM_VAL >= 10
    assert sum(limit_of_one_class(counts)) / 2 < 0.9
