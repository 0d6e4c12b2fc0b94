"""`segnet shard`: a dataset -> a folder of tar files for dataset=streaming, on disk or on a web server."""

from collections.abc import Sequence
from pathlib import Path

from segnet.cli.composition import run
from segnet.cli.output import say
from segnet.errors import ExitCode
from segnet.verb_config import ShardConfig


def main(arguments: Sequence[str]) -> int:
    """Write the shards of a dataset; return exit code 0."""
    run("shard", ShardConfig, _shard, arguments)
    return ExitCode.OK


def _shard(config: ShardConfig, output_dir: Path) -> None:
    from segnet.workflows.shard import write_shards  # late: a wrong option fails before datasets are imported

    index = write_shards(config)
    for split, shards in index.splits.items():
        num_images = sum(len(shard.offsets) - 1 for shard in shards)
        size = sum(shard.offsets[-1] for shard in shards) / 1e6
        say(f"{split}: {num_images:,} images in {len(shards):,} shards, {size:,.1f} MB")
    say(f"shards: {config.output}; train on them with dataset=streaming dataset.root={config.output}")
