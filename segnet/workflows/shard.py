"""Write a dataset as shards, without Hydra: on all cores, into a folder that appears once it is complete."""

import glob
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from segnet.data import build_splits
from segnet.data.dataset import SegmentationDataset
from segnet.data.datasets.pairing import SPLITS
from segnet.data.scan.finding import Finding
from segnet.data.scan.report import DatasetReport, SplitReport
from segnet.data.scan.scan import finding_of
from segnet.data.shard_index import INDEX, Index, Shard, findings_name
from segnet.data.shards import pack, require_webdataset, sample_offsets, tar_writer
from segnet.errors import ConfigError, MachineError
from segnet.system.machine import num_cores
from segnet.system.signals import ending_at_once
from segnet.training.run_lock import in_use, locked
from segnet.verb_config import ShardConfig

log = logging.getLogger(__name__)


def write_shards(config: ShardConfig) -> Index:
    """Write the splits of a dataset atomically into a new folder.

    Raises:
        ConfigError: an impossible option, or the folder exists.
        DataError: a sample cannot be read, or the labels are doubtful.
        MachineError: the folder cannot be written, or WebDataset is not installed.
        Interrupted: a signal stopped it; nothing is left.
    """
    if not config.splits or set(config.splits) - set(SPLITS):
        raise ConfigError(f"splits={config.splits} must be some of {', '.join(SPLITS)}")
    if config.images_per_shard < 1:
        raise ConfigError(f"images_per_shard={config.images_per_shard} must be 1 or more")
    output = Path(os.path.expanduser(config.output))
    if os.path.lexists(output):
        raise ConfigError(f"output={output} exists already: choose a new folder, or remove it")
    require_webdataset()
    splits = list(dict.fromkeys(config.splits))
    datasets = build_splits(config.dataset, splits)
    for split, dataset in datasets.items():
        for note in dataset.notes.lines():
            log.info("look at your data: %s: %s", split, note)
    first = datasets[splits[0]]
    with ending_at_once("while packing"), _new_folder(output) as folder, _progress() as progress:
        shards = {}
        for split, dataset in datasets.items():
            shards[split], findings = _write_split(dataset, split, folder, config.images_per_shard, progress)
            present = {label for finding in findings for label in finding.pixels}
            DatasetReport([SplitReport(split, dataset.classes, findings, dataset.doubt(present))]).require_sound()
            (folder / findings_name(split)).write_text(json.dumps([astuple(found) for found in findings]), "utf-8")
        index = Index(first.classes, first.channels, shards, first.value_range)
        (folder / INDEX).write_text(index.to_json(), encoding="utf-8")
    return index


def _write_split(
    dataset: SegmentationDataset, split: str, folder: Path, images_per_shard: int, progress: Progress
) -> tuple[list[Shard], list[Finding]]:
    """Write the shards of a split; return them, and the findings of their samples."""

    def packed(index: int) -> tuple[dict[str, bytes], Finding]:
        sample = dataset.load(index)
        source = next((place for place in dataset.files(index) if isinstance(place, Path)), None)
        return pack(sample, source), finding_of(sample)

    shards: list[Shard] = []
    findings: list[Finding] = []
    task = progress.add_task(f"packing the {split} split", total=len(dataset))
    pool = ThreadPoolExecutor(num_cores())  # decoders, encoders and checksums release the GIL
    try:
        for first in range(0, len(dataset), images_per_shard):  # at most one shard is buffered in memory
            indices = range(first, min(first + images_per_shard, len(dataset)))
            path = folder / f"{split}-{len(shards):06d}.tar"
            with open(path, "wb") as file:
                with tar_writer(file) as writer:
                    for index, (members, finding) in zip(indices, pool.map(packed, indices), strict=True):
                        writer.write({"__key__": f"{index:09d}", **members})
                        findings.append(finding)
                        progress.advance(task)
                os.fsync(file.fileno())
            shards.append(Shard(path.name, sample_offsets(path)))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the rest
    return shards, findings


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `target`, and rename it to `target` at the end.

    Temporary folders of killed processes are removed. Those of running processes are locked, and kept.

    Raises:
        MachineError: the folder cannot be written; nothing is left.
    """
    for stale in target.parent.glob(f".{glob.escape(target.name)}.????????.tmp"):
        if not in_use(stale):
            shutil.rmtree(stale, ignore_errors=True)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        with locked(temporary):
            yield temporary
        temporary.rename(target)
    except OSError as error:
        raise MachineError(f"{target}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
