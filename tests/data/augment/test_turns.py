"""Quarter turns and flips of crops of any proportions."""

import albumentations as A
import numpy as np
import pytest

from segnet.data.augment.turns import ALL, TURNS, Turn, apply_turns, before_turns

MASK = np.arange(6).reshape(2, 3)


def test_the_eight_symmetries_are_all_different_and_turn_images_like_masks():
    results = {apply_turns(MASK, [turn]).tobytes() + bytes(apply_turns(MASK, [turn]).shape) for turn in ALL}
    assert len(results) == 8
    image = np.stack([MASK, 10 * MASK], axis=2)
    for turn in ALL:
        both = apply_turns(image, [turn])
        assert both.flags.c_contiguous
        np.testing.assert_array_equal(
            both, np.stack([apply_turns(MASK, [turn]), 10 * apply_turns(MASK, [turn])], axis=2)
        )


@pytest.mark.parametrize("name", TURNS)
def test_turns_are_those_of_albumentations(name):
    transform = A.Compose([getattr(A, name)(p=1)])
    square = np.arange(9, dtype=np.uint8).reshape(3, 3)
    theirs = set()
    for seed in range(80):
        transform.set_random_seed(seed)
        theirs.add(transform(image=square)["image"].tobytes())
    assert {apply_turns(square, [turn]).tobytes() for turn in TURNS[name]} == theirs


def test_a_crop_has_its_size_after_the_turns():
    once, still = Turn(transposed=True), Turn(rows_reversed=True)
    for turns in ([], [once], [still], [once, still, once], [once, still]):
        height, width = before_turns((2, 3), turns)
        assert apply_turns(np.zeros((height, width)), turns).shape == (2, 3)
