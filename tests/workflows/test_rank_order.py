"""The order of images by scores and by distances, on points whose order is known."""

import numpy as np
import pytest

from segnet.workflows.rank_order import order_by_diversity, order_by_score, order_images

LINE = np.array([[0.0], [1.0], [10.0], [4.0]], np.float32)
NONE = np.empty((0, 1), np.float32)


def indices(order):
    return [index for index, _ in order]


def test_scores_decrease_and_ties_keep_their_order():
    assert order_by_score([0.1, 0.5, 0.1, 0.9]) == [(3, 0.9), (1, 0.5), (0, 0.1), (2, 0.1)]


def test_the_farthest_image_from_labeled_and_chosen_ones_comes_next():
    order = order_by_diversity(LINE, np.array([[0.0]], np.float32), 4)
    assert indices(order) == [2, 3, 1, 0]
    assert [value for _, value in order] == pytest.approx([10, 4, 1, 0], abs=1e-5)


def test_without_labeled_images_the_middle_comes_first():
    order = order_by_diversity(LINE, NONE, 2)  # the mean is 3.75
    assert indices(order)[:2] == [3, 2]
    assert order[0][1] == float("inf")


def test_scores_multiply_distances():
    labeled = np.array([[0.0]], np.float32)
    assert indices(order_by_diversity(LINE, labeled, 1, [1, 1, 0.1, 1])) == [3, 1, 2, 0]
    assert indices(order_by_diversity(LINE, NONE, 1, [0, 3, 1, 2]))[0] == 1


def test_images_behind_the_chosen_ones_follow_by_their_remaining_distance():
    points = np.array([[0, 0], [9, 0], [9.5, 0], [0, 3]], np.float32)
    order = order_by_diversity(points, points[:1], 1)
    assert indices(order) == [2, 3, 1, 0]
    assert [value for _, value in order] == pytest.approx([9.5, 3, 0.5, 0], abs=1e-3)


def test_the_greedy_algorithm_agrees_with_all_distances():
    random = np.random.default_rng(0)
    points, labeled = random.normal(size=(60, 7)) + 50, random.normal(size=(9, 7)) + 50
    known, expected = [*labeled], []
    for _ in range(20):
        nearest = [min(np.linalg.norm(point - other) for other in known) for point in points]
        expected.append(int(np.argmax(nearest)))
        known.append(points[expected[-1]])
    order = order_by_diversity(points.astype(np.float32), labeled.astype(np.float32), 20)
    assert indices(order)[:20] == expected
    assert sorted(indices(order)) == list(range(60))


def test_no_image_has_no_order():
    assert order_by_diversity(np.empty((0, 3), np.float32), NONE, 5) == []


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("entropy", [1, 3, 2, 0]),
        ("margin", [3, 2, 1, 0]),
        ("bald", [0, 1, 2, 3]),
        ("diversity", [2, 3, 1, 0]),
        ("entropy+diversity", [3, 2, 1, 0]),
        ("margin+diversity", [3, 2, 1, 0]),
        ("bald+diversity", [1, 2, 3, 0]),
    ],
)
def test_each_method_orders_by_its_own_values(method, expected):
    scores = [
        {"entropy": entropy, "margin": margin, "bald": bald}
        for entropy, margin, bald in zip([0.1, 0.9, 0.2, 0.8], [0, 0.1, 0.2, 0.9], [0.9, 0.8, 0.05, 0.02], strict=True)
    ]
    assert indices(order_images(method, scores, list(LINE), [LINE[0]], 1)) == expected
    alone = order_images(method, scores, list(LINE), [], 4)
    assert sorted(indices(alone)) == [0, 1, 2, 3]


def test_random_images_have_no_value():
    orders = [order_images("random", [{}] * 20, [], [], 5, seed) for seed in (1, 1, 2)]
    assert indices(orders[0]) == indices(orders[1]) != indices(orders[2])
    assert sorted(indices(orders[0])) == list(range(20))
    assert all(np.isnan(value) for _, value in orders[0])
