"""Cross-validation: train a model per fold and predict the images that it has not seen, without Hydra."""

import gc
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from segnet.config import Config
from segnet.data import build_splits
from segnet.data.dataset import SegmentationDataset
from segnet.data.datasets.splits import check_group, group_of
from segnet.data.fold import FOLD, JoinedSplits
from segnet.data.folds import draw_folds, source_name
from segnet.data.scan.report import DatasetReport, SplitReport
from segnet.data.scan.scan import ScanCache, scan_split
from segnet.errors import ConfigError, DataError, counted
from segnet.system.files import read_object, replacing
from segnet.training.distributed import detect_launcher
from segnet.training.run_folder import AUTO_RESUME, differences
from segnet.training.run_lock import in_use, locked
from segnet.verb_config import CrossvalConfig
from segnet.workflows.finished_folds import FOLD_RECORD, FinishedFold, read_fold, write_fold
from segnet.workflows.out_of_fold import out_of_fold_names, write_out_of_fold
from segnet.workflows.train import train

log = logging.getLogger(__name__)

PLAN = "folds.json"  # the folds and the configuration, in the folder of the cross-validation
DIVIDED_SPLITS = ("train", "val")


@dataclass(frozen=True, slots=True)
class FoldPlan:
    """The folds of a dataset.

    Attributes:
        names: name of each image's results, "street/0001" for masks/street/0001.png.
        held_out: ascending indices of the held-out images of each fold.
        dataset: spec of the dataset.
        splits: the divided splits.
    """

    names: Sequence[str]
    held_out: Sequence[Sequence[int]]
    dataset: Mapping[str, Any]
    splits: Sequence[str]

    def spec(self, fold: int) -> dict[str, Any]:
        """The dataset of a fold, counted from 0."""
        held_out = list(self.held_out[fold])
        return {"name": FOLD, "of": dict(self.dataset), "held_out": held_out, "splits": list(self.splits)}


def crossval(config: CrossvalConfig, output_dir: Path, elapsed: float = 0.0) -> tuple[Path, list[FinishedFold]]:
    """Train a model for each fold and predict the fold's images; finished folds are skipped when it resumes.

    Writes folds.json, foldN/ (a run folder each), masks/ and, on request, probabilities/.

    Args:
        config: the configuration; `checkpoint` is None, or "auto" to resume.
        output_dir: folder of a new cross-validation.
        elapsed: time since the process started [s].

    Returns:
        The folder, and the folds.

    Raises:
        SegnetError: an option, a file or the machine cannot be used.
        Interrupted: a signal stopped it; the same command with checkpoint=auto resumes it.
    """
    _require_possible(config)
    folder = _folder_of(config, output_dir)
    with locked(folder):
        plan = _plan(config, folder)
        log.info("cross-validation: %s of %s", counted(config.folds, "fold"), counted(len(plan.names), "image"))
        finished = []
        for fold in range(config.folds):
            path = folder / f"fold{fold + 1}"
            done = read_fold(path)
            log.info("fold %d of %d: %s", fold + 1, config.folds, "done already" if done else path)
            finished.append(done or _run_fold(config, plan, fold, path, elapsed if fold == 0 else 0.0))
            gc.collect()  # a Trainer has reference cycles: its model would stay in memory
        return folder, finished


def _require_possible(config: CrossvalConfig) -> None:
    """Refuse options of a single run.

    Raises:
        ConfigError: names the option.
    """
    if config.budget is not None:
        raise ConfigError(
            f"budget={config.budget} is for one run, and its length depends on the speed of the moment: the "
            f"{config.folds} folds need one length, so set trainer.max_steps or trainer.max_epochs"
        )
    if config.checkpoint not in (None, AUTO_RESUME):
        raise ConfigError(f"checkpoint={config.checkpoint}: checkpoint=auto resumes a cross-validation")
    devices, nodes = config.trainer.get("devices", 1), config.trainer.get("num_nodes", 1)
    if devices not in (1, "1", [0]) or nodes != 1 or detect_launcher()[1] > 1:
        raise ConfigError(
            f"trainer.devices={devices}, trainer.num_nodes={nodes}: crossval trains in one process, one fold after the "
            "other: leave them out, and start it without a launcher"
        )
    if not config.splits or len(set(config.splits)) < len(config.splits) or set(config.splits) - set(DIVIDED_SPLITS):
        raise ConfigError(f"splits={config.splits} must be [train], [val] or [train,val]")
    if config.folds < 2:
        raise ConfigError(f"folds={config.folds}: a cross-validation needs 2 or more folds")
    if config.dataset.get("name") == FOLD:
        raise ConfigError("dataset=fold is a fold already: name the dataset that it is made of")
    check_group(config.group, "group")


def _folder_of(config: CrossvalConfig, output_dir: Path) -> Path:
    """The folder of the cross-validation to resume, or of a new one."""
    if config.checkpoint is None:
        if (output_dir / PLAN).exists():
            raise ConfigError(f"{output_dir}: holds a cross-validation: checkpoint=auto resumes it")
        return output_dir
    found = []
    for path in output_dir.absolute().parent.glob(f"*/{PLAN}"):
        stored = read_object(path).get("config")
        if not isinstance(stored, dict) or differences(stored, config):
            continue
        if in_use(path.parent):
            log.warning("checkpoint=auto: skipped %s: another process uses that folder", path.parent)
            continue
        found.append((len(list(path.parent.glob(f"*/{FOLD_RECORD}"))), path.stat().st_mtime_ns, path.parent))
    folder = max(found)[2] if found else output_dir
    outcome = f"resuming {folder}" if found else "no cross-validation of this configuration: starting a new one"
    log.info("checkpoint=auto: %s", outcome)
    return folder


def _plan(config: CrossvalConfig, folder: Path) -> FoldPlan:
    """Draw the folds, or read those of the folder.

    Raises:
        ConfigError: too few images or groups. DataError: a file cannot be used, or the dataset has other images now.
    """
    samples = JoinedSplits(list(build_splits(config.dataset, config.splits).values()))
    sources = [source_name(samples, index) for index in range(len(samples))]
    names = out_of_fold_names(sources)
    stored = read_object(folder / PLAN)
    if stored:
        if stored.get("images") != names:
            raise DataError(
                f"{folder}: its folds are of {counted(len(stored.get('images', ())), 'image')}, and the dataset has "
                f"others now ({len(names):,}): start a new cross-validation without checkpoint=auto"
            )
        return FoldPlan(names, stored["held_out"], stored["config"]["dataset"], config.splits)
    group = config.group or config.dataset.get("group")
    groups = [group_of(source, str(group), "group") for source in sources] if group else None
    held_out = draw_folds(config.folds, len(names), groups, _present(config, samples), config.seed)
    with replacing(folder / PLAN) as temporary:
        record = {"images": names, "held_out": held_out, "groups": groups, "config": asdict(config)}
        temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
    return FoldPlan(names, held_out, config.dataset, config.splits)


def _present(config: CrossvalConfig, samples: SegmentationDataset) -> list[set[int]] | None:
    """The classes in each image; None if data.check=false forbids reading all files.

    Raises:
        DataError: a file cannot be used.
    """
    findings = samples.findings()
    if findings is None:
        if not config.data.check:
            return None
        report = scan_split(samples, "train", ScanCache(config.dataset, samples.classes))
        DatasetReport([report]).require_sound()
    else:
        report = SplitReport("train", samples.classes, findings)
    return [set(finding.pixels) - {samples.classes.ignore_index} for finding in report.findings]


def _run_fold(config: CrossvalConfig, plan: FoldPlan, fold: int, folder: Path, elapsed: float) -> FinishedFold:
    """Train a fold, or resume it, and predict its held-out images."""
    options = {option.name: getattr(config, option.name) for option in fields(Config)}
    started = any(folder.glob("*.ckpt"))
    run = replace(Config(**options), dataset=plan.spec(fold), checkpoint=AUTO_RESUME if started else None)
    results = train(run, folder, elapsed)
    assert results is not None  # one process
    names = [plan.names[index] for index in plan.held_out[fold]]
    counts = write_out_of_fold(run, results, folder.parent, names, config.save_probabilities)
    return write_fold(folder, results, names, counts)


def read_crossval(folder: Path) -> tuple[FoldPlan, list[FinishedFold], dict[str, Any]]:
    """Read a finished cross-validation.

    Returns:
        The folds, the finished folds, and the configuration as builtins.

    Raises:
        ConfigError: not the folder of a cross-validation, or not all folds are finished.
    """
    stored = read_object(folder / PLAN)
    if not {"images", "held_out", "config"} <= stored.keys():
        raise ConfigError(f"crossval={folder}: is not the folder of a segnet crossval: it has no usable {PLAN}")
    finished = [read_fold(folder / f"fold{number + 1}") for number in range(len(stored["held_out"]))]
    done = [fold for fold in finished if fold]
    if len(done) < len(finished):
        raise ConfigError(
            f"crossval={folder}: {len(done)} of {len(finished)} folds are finished: resume it with checkpoint=auto"
        )
    config = stored["config"]
    return FoldPlan(stored["images"], stored["held_out"], config["dataset"], config["splits"]), done, config
