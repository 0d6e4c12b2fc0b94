"""Data modules of small datasets, and the batches of their loaders."""

from types import SimpleNamespace

import torch

from segnet.config import DataConfig
from segnet.data.datamodule import SegmentationDataModule

MEAN = (0.2, 0.4, 0.6)
SHAPES = {"name": "shapes", "num_train": 10, "num_val": 7, "num_test": 3, "size": [32, 40]}


def module(spec: dict = SHAPES, seed: int = 0, **options: object) -> SegmentationDataModule:
    data = DataConfig(**{"batch_size": 3, "crop_size": [24, 28], "num_workers": 0, **options})
    return SegmentationDataModule(spec, data, MEAN, seed)


def as_rank(data: SegmentationDataModule, rank: int, num_processes: int) -> SegmentationDataModule:
    data.trainer = SimpleNamespace(global_rank=rank, world_size=num_processes)
    return data


def epochs(data: SegmentationDataModule, numbers: range = range(2)) -> list[dict]:
    """Return all training batches of the given epochs."""
    loader = data.train_dataloader()
    batches = []
    for epoch in numbers:
        loader.sampler.set_epoch(epoch)
        batches += list(loader)
    return batches


def same(one: list[dict], other: list[dict]) -> bool:
    return len(one) == len(other) and all(
        a["name"] == b["name"] and torch.equal(a["image"], b["image"]) and torch.equal(a["mask"], b["mask"])
        for a, b in zip(one, other, strict=True)
    )


def names(batches: list[dict]) -> list[str]:
    return [name for batch in batches for name in batch["name"]]
