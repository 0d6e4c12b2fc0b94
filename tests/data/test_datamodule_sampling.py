"""Oversampling, mixing and caches: batches do not depend on workers or resuming."""

import numpy as np
import pytest
import torch
from loaders import SHAPES, epochs, module, names, same

from segnet.errors import ConfigError

RARE = {**SHAPES, "num_train": 12, "seed": 3}


def test_images_of_rare_classes_are_repeated_with_other_augmentations():
    data = module(RARE, oversample_rare=1.0, batch_size=1)
    batches = epochs(data, range(1))
    counts = {name: names(batches).count(name) for name in names(batches)}
    assert set(counts) == {f"shapes/train/{index}" for index in range(12)}
    assert len(batches) > 12
    again = next(name for name, count in counts.items() if count > 1)
    first, second = [batch["image"] for batch in batches if batch["name"] == [again]][:2]
    assert not torch.equal(first, second)
    holds = [set(np.unique(data.split("train").load(index).mask)) for index in range(12)]
    rarest = min(range(6), key=lambda label: sum(label in present for present in holds) or 99)
    often = [counts[f"shapes/train/{index}"] for index in range(12) if rarest in holds[index]]
    assert np.mean(often) > np.mean(list(counts.values()))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_repeated_images_do_not_depend_on_workers_or_resuming(num_workers):
    whole = epochs(module(RARE, oversample_rare=1.0), range(1, 2))
    assert same(whole, epochs(module(RARE, oversample_rare=1.0, num_workers=num_workers), range(1, 2)))
    resumed = module(RARE, oversample_rare=1.0, num_workers=num_workers)
    resumed.resume(epoch=1, batches=2)
    assert same(list(resumed.train_dataloader()), whole[2:])


def test_common_classes_are_not_oversampled():
    assert same(epochs(module()), epochs(module(oversample_rare=0.01)))


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_impossible_fractions_are_refused(share):
    with pytest.raises(ConfigError, match=r"data\.oversample_rare=.* must lie between 0 and 1"):
        module(oversample_rare=share)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_mixed_batches_do_not_depend_on_workers_or_resuming(num_workers):
    whole = epochs(module(cutmix=1.0), range(1, 2))
    assert not same(whole, epochs(module(), range(1, 2)))
    assert names(whole) == names(epochs(module(), range(1, 2)))
    assert same(whole, epochs(module(cutmix=1.0, num_workers=num_workers), range(1, 2)))
    resumed = module(cutmix=1.0, num_workers=num_workers)
    resumed.resume(epoch=1, batches=2)
    assert same(list(resumed.train_dataloader()), whole[2:])
