"""Rank unlabeled images: which ones to label next, by the uncertainty of a model and by diversity."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from segnet.choices import RANK_METHODS
from segnet.components import did_you_mean
from segnet.errors import ConfigError, DataError
from segnet.inference.ensemble import StrPath
from segnet.inference.uncertainty import Observer
from segnet.prediction.inputs import Collector, Input
from segnet.prediction.records import is_result
from segnet.published.zoo import find_model
from segnet.system.signals import ending_at_once
from segnet.verb_config import RankConfig
from segnet.workflows.rank_files import RankedImage, Ranking, write_page, write_ranking
from segnet.workflows.rank_order import DIVERSITY, measure_of, order_images
from segnet.workflows.rank_pool import OnImage, Pool, read_labeled

log = logging.getLogger(__name__)


def images_to_rank(arguments: Sequence[str], root: str | None = None) -> tuple[list[Input], list[str]]:
    """Find the images of folders, globs, lists and paths, as `segnet predict` does; `root` is that of lists.

    Returns:
        The images, and notes about skipped files.

    Raises:
        ConfigError: none is named, or one is not an image file. DataError: a folder or glob without any image.
    """
    if not arguments:
        raise ConfigError("rank: no image; name a folder: segnet rank photos/ checkpoint=best.ckpt")
    collector = Collector(is_result)
    for argument in arguments:
        collector.add(argument, root)
    images = [item for item in collector.inputs if item.kind == "image"]
    if other := next((item for item in collector.inputs if item.kind not in ("image", "video")), None):
        raise ConfigError(f"{other.text}: rank takes image files, folders, globs and @lists: save it as an image first")
    videos = [item for item in collector.inputs if item.kind == "video"]
    notes = [f"videos skipped: {len(videos)}, such as {videos[0].text}: save their frames as images"] if videos else []
    if not images:
        raise DataError(f"{arguments[0]}: no image; {'; '.join(notes)}")
    return images, [*collector.notes, *notes]


def rank(config: RankConfig, inputs: Sequence[Input], output_dir: Path, report: OnImage) -> Ranking:
    """Rank images, and write rank.json, rank.csv, rank.txt and rank.html.

    Args:
        config: its `dataset` has the labeled images; empty: there are none.
        inputs: the images, as `images_to_rank` finds them.
        output_dir: folder of the results.
        report: called after each image, with the error of one that cannot be read.

    Raises:
        ConfigError, CheckpointError: an option or a checkpoint cannot be used.
        DataError: a labeled image cannot be read, or no image can be ranked. MachineError: out of memory or disk.
    """
    config = _with_views(config)
    with ending_at_once("while ranking: nothing was written"):
        named = config.checkpoint if isinstance(config.checkpoint, list | tuple) else [config.checkpoint]
        observer = _observer(config, [find_model(one) for one in named])
        observer.classes.require_one_class("segnet rank")
        labeled = read_labeled(config, observer, named[0], DIVERSITY in config.method)
        pool = Pool(observer, labeled, report, named[0])
        pool.read(inputs, config.batch_size)
        if not pool.images:
            raise DataError(_nothing_to_rank(pool, len(inputs)))
        order = order_images(config.method, pool.scores, pool.features, labeled.features, config.number, config.seed)
        images = [
            RankedImage(path, pool.scores[index], value if math.isfinite(value) else None)
            for index, value in order
            for path in [pool.images[index]]
        ]
        counts = (labeled.count, pool.num_left_out, pool.num_repeated)
        ranking = Ranking(output_dir, images, config.number, observer.classes, *counts, pool.failed)
        write_ranking(ranking, config)
        write_page(ranking, config, measure_of(config.method), observer)
    return ranking


def _with_views(config: RankConfig) -> RankConfig:
    """The configuration with at least two views if the method needs them.

    Raises:
        ConfigError: an option is out of range.
    """
    if config.method not in RANK_METHODS:
        raise ConfigError(f"method={config.method} is unknown.{did_you_mean(config.method, RANK_METHODS)}")
    if config.number < 1:
        raise ConfigError(f"number={config.number} must be 1 or more")
    if config.num_images < 0:
        raise ConfigError(f"num_images={config.num_images} must be 0 or more")
    several = isinstance(config.checkpoint, list | tuple) and len(config.checkpoint) > 1
    if measure_of(config.method) == "bald" and not (several or config.flip or len(config.scales) > 1):
        log.info("method=%s compares predictions: flip=true adds those of mirrored images", config.method)
        return replace(config, flip=True)
    return config


def _observer(config: RankConfig, checkpoints: Sequence[StrPath]) -> Observer:
    options = {name: getattr(config, name) for name in ("flip", "scales", "window", "overlap", "batch_size")}
    return Observer(checkpoints, config.device, **options)


def _nothing_to_rank(pool: Pool, count: int) -> str:
    if pool.failed:
        return f"none of the images ({count:,}) can be ranked: {len(pool.failed):,} cannot be read"
    return f"none of the images ({count:,}) is left: all are labeled already; splits=[] ranks them anyway"
