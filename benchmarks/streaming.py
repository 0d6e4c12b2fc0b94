"""Speed of reading shards, near and far, against the files they were made from.

    python benchmarks/streaming.py --workers 2 --batch-size 8

One run measures the training loader over a folder of JPEG images with PNG masks, over shards of it in a folder, and
over the same shards behind a local web server that delays every answer, as a bucket does. There it also requests each
sample alone. Needs webdataset.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from range_server import serving
from torch.utils.data import DataLoader

from segnet.classes import Classes
from segnet.config import DataConfig
from segnet.data.datamodule import train_transform
from segnet.data.dataset import Sample, SegmentationDataset
from segnet.data.datasets.folder import Folder
from segnet.data.datasets.shapes import Shapes
from segnet.data.datasets.streaming import Streaming
from segnet.data.sampler import EpochSampler
from segnet.data.samples import TrainSamples
from segnet.images.files import write_image, write_mask
from segnet.verb_config import ShardConfig
from segnet.workflows.shard import write_shards


class OneByOne(Streaming):
    """Request each sample alone."""

    def load_many(self, indices: Sequence[int]) -> Iterator[Sample]:
        for index in indices:
            yield from super().load_many([index])

    def load(self, index: int) -> Sample:
        return next(super().load_many([index]))


def write_dataset(root: Path, num_images: int) -> Classes:
    """Write images of shapes, 512 x 512, as a folder dataset with a train split only."""
    shapes = Shapes("train", num_train=num_images)
    for index in range(num_images):
        sample = shapes.load(index)
        write_image(root / "images" / "train" / f"{index}.jpg", np.tile(sample.image, (8, 8, 1)))
        write_mask(root / "masks" / "train" / f"{index}.png", np.tile(sample.mask, (8, 8)), shapes.classes.palette)
    return shapes.classes


def images_per_second(dataset: SegmentationDataset, workers: int, batch_size: int) -> float:
    """Images per second of an epoch of the training loader, including the start of its workers."""
    data = DataConfig(crop_size=[256, 256])
    samples = TrainSamples(dataset, train_transform(data, [0.5] * 3, dataset.classes.ignore_index, seed=0))
    sampler = EpochSampler(len(dataset), seed=0)
    loader = DataLoader(samples, batch_size, sampler=sampler, num_workers=workers)
    start = time.perf_counter()
    count = sum(len(batch["name"]) for batch in loader)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--delays", type=float, nargs="+", default=(0.0, 0.05, 0.2), help="latencies [seconds]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root, shards = Path(temporary, "data"), Path(temporary, "shards")
        classes = write_dataset(root, options.images)
        spec = {"name": "folder", "root": str(root), "class_names": list(classes.names)}
        write_shards(ShardConfig(dataset=spec, splits=["train"], output=str(shards), images_per_shard=100))
        files = Folder("train", str(root), classes.names)

        def report(name: str, dataset: SegmentationDataset) -> None:
            speed = images_per_second(dataset, options.workers, options.batch_size)
            print(f"{name:45s}{speed:8.1f} images/s {speed / reference:6.2f} x files", flush=True)

        reference = images_per_second(files, options.workers, options.batch_size)
        report("files, again", files)
        report("shards in a folder", Streaming("train", str(shards)))
        for delay in options.delays:
            with serving(shards, delay=delay) as url:
                report(f"server, {1000 * delay:g} ms, a batch at once", Streaming("train", url))
                report(f"server, {1000 * delay:g} ms, one by one", OneByOne("train", url))


if __name__ == "__main__":
    main()
