"""The shard benchmark compares ways to read that give equal samples."""

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("webdataset", reason="webdataset is an optional package, and not installed")

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "streaming.py"
spec = importlib.util.spec_from_file_location("streaming_benchmark", SCRIPT)
benchmark = importlib.util.module_from_spec(spec)
spec.loader.exec_module(benchmark)


def test_all_readers_give_equal_samples(tmp_path):
    classes = benchmark.write_dataset(tmp_path / "data", 4)
    files = {"name": "folder", "root": str(tmp_path / "data"), "class_names": list(classes.names)}
    shards = tmp_path / "shards"
    benchmark.write_shards(benchmark.ShardConfig(dataset=files, splits=["train"], output=str(shards)))
    readers = [
        benchmark.Folder("train", str(tmp_path / "data"), classes.names),
        benchmark.Streaming("train", str(shards)),
        benchmark.OneByOne("train", str(shards)),
    ]
    for samples in zip(*(reader.load_many([2, 0]) for reader in readers), strict=True):
        assert len({(sample.name, sample.image.tobytes(), sample.mask.tobytes()) for sample in samples}) == 1
    assert all(benchmark.images_per_second(reader, workers=0, batch_size=2) > 0 for reader in readers)
