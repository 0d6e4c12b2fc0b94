"""Run folders: the checkpoint to resume from, changed options, cleanup after a killed run, write errors."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segnet.components import complete
from segnet.config import Config
from segnet.data import DATASETS
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.models.checkpoint import read_checkpoint
from segnet.system.machine import FULL_DISK
from segnet.training.plan import PLANNED
from segnet.training.run_config import BEFORE_PLANS, chosen_in, flat_options, stored_config
from segnet.training.run_data import RunData
from segnet.training.run_lock import in_use
from segnet.training.specs import TABLES

log = logging.getLogger(__name__)

AUTO_RESUME = "auto"
# Options that may change when a run resumes: they do not affect its results.
FREE = {
    *["checkpoint", "checkpoint_every", "checkpoint_minutes"],
    "logger",
    "profile",
    "worst_images",
    "calibrate",
    *["data.num_workers", "data.timeout", "data.check", "data.cache", "data.cache_size"],
    *["trainer.enable_progress_bar", "trainer.profiler", "trainer.detect_anomaly"],
}


def checkpoint_to_resume(config: Config, output_dir: Path, data: RunData) -> Path | None:
    """Return the checkpoint to resume from, or None for a new run.

    Args:
        config: its `checkpoint` is a path, "auto" or None.
        output_dir: the run folder of a new run; "auto" searches its sibling folders.
        data: the run's data; "auto" skips checkpoints of other files or other options.

    Raises:
        CheckpointError: the checkpoint cannot be read, or it contains no training state.
    """
    if config.checkpoint is None:
        return None
    if config.checkpoint == AUTO_RESUME:
        found = _newest(config, output_dir.absolute().parent, data)
        outcome = f"resuming from {found}" if found else "no checkpoint of this configuration: starting a new run"
        log.info("checkpoint=auto: %s", outcome)
        return found
    path = Path(os.path.expanduser(config.checkpoint)).absolute()
    checkpoint = read_checkpoint(path)
    require_resumable(checkpoint, path)
    stored = stored_config(path.parent)
    changed = differences(stored, config, chosen_in(path.parent)) if stored else []
    if changed:
        log.warning("the run resumes with changed options: %s", ", ".join(changed))
    if changed_data := data.changes_since(checkpoint, path):
        log.warning("the run resumes with a changed dataset: %s", changed_data)
    return path


def run_folder(checkpoint: Path | None, output_dir: Path) -> Path:
    """Return the run folder: a resumed run keeps its own, with its metrics and its best checkpoint.

    A checkpoint that was moved out of its run folder resumes in `output_dir`.
    """
    return checkpoint.parent if checkpoint and (checkpoint.parent / "config.yaml").is_file() else output_dir


def require_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Check that a checkpoint contains training state.

    Raises:
        CheckpointError: it contains model weights only.
    """
    if not {"optimizer_states", "lr_schedulers", "loops"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path}: contains a model without training state: fine-tune from it with init_from={path}"
        )


def _newest(config: Config, parent: Path, data: RunData) -> Path | None:
    """Return the usable checkpoint with the most steps among the run folders of one configuration.

    Copying files and clocks of other machines change modification times. They only decide between runs of equal steps.
    In a folder last.ckpt is preferred: best.ckpt of a finished run is written again with its temperature.
    """
    found = [path for path in parent.glob("*/*.ckpt") if not _differs(path.parent, config)]
    usable: list[tuple[int, bool, int, Path]] = []
    of_other_files: list[tuple[int, bool, int, Path, str]] = []
    for path in sorted(found):
        if in_use(path.parent):
            log.warning("checkpoint=auto: skipped %s: another run uses that folder", path)
            continue
        try:
            checkpoint = read_checkpoint(path)
            require_resumable(checkpoint, path)
            changed = data.changes_since(checkpoint, path)
        except CheckpointError as error:
            log.warning("checkpoint=auto: skipped a file: %s", error)
            continue
        step = checkpoint.get("global_step", 0)
        is_last = path.name == "last.ckpt"
        candidate = (step if isinstance(step, int) else 0, is_last, path.stat().st_mtime_ns, path)
        if changed:
            of_other_files.append((*candidate, changed))
        else:
            usable.append(candidate)
    if of_other_files:
        *_, path, changed = max(of_other_files)
        log.warning(
            "checkpoint=auto: skipped %s: the dataset has changed (%s): checkpoint=%s resumes it anyway",
            *(path, changed, path),
        )
    return max(usable)[-1] if usable else None


def _differs(folder: Path, config: Config) -> list[str]:
    return differences(stored_config(folder), config, chosen_in(folder))


def dataset_of_run(checkpoint: Path, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset spec that a checkpoint was trained on, from the config.yaml in its folder.

    Args:
        dataset: options that override the run's, such as another root.

    Raises:
        CheckpointError: the checkpoint does not exist.
        ConfigError: no config.yaml in its folder names a dataset.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint}: no such checkpoint")
    trained_on = stored_config(checkpoint.parent).get("dataset")
    if not isinstance(trained_on, dict) or "name" not in trained_on:
        raise ConfigError(
            f"dataset is not set, and no config.yaml in the folder of {checkpoint} names one: add dataset=..."
        )
    return {**trained_on, **dataset}


def differences(
    stored: Mapping[str, Any], config: Config, chosen_options: Mapping[str, Any] = BEFORE_PLANS
) -> list[str]:
    """List the changed options that affect results, as "optim.lr=0.1 (was 0.2)".

    Options newer than the run are absent from `stored` and count as their defaults. An unset mean or std is not
    compared: a resumed run keeps its own. A null stands for what the run chose, as in `chosen_options`.
    """
    defaults = flat_options(asdict(Config()))
    before, now = (flat_options(_complete(sections)) for sections in (stored, asdict(config)))
    changed = []
    for key in now.keys() | before.keys():
        old, new = before.get(key, defaults.get(key)), now.get(key)
        section = key.partition(".")[0]
        if key in FREE or section in FREE or (key in ("mean", "std") and new is None):
            continue
        if key != f"{section}.name" and before.get(f"{section}.name") != now.get(f"{section}.name"):
            continue  # an option of another component
        if new is None and key in PLANNED and _plain(old) == _plain(chosen_options.get(key)):
            continue
        if _plain(old) != _plain(new):
            changed.append(f"{key}={new} (was {old})")
    return sorted(changed)


def _complete(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in all options of each component, so that omitted options equal explicit defaults."""
    shared = {"output_stride": sections.get("output_stride"), "norm": sections.get("norm")}
    completed = dict(sections)
    for name, table in {**TABLES, "dataset": DATASETS}.items():
        if isinstance(spec := sections.get(name), dict):
            completed[name] = complete(table, spec, **shared)
    return completed


def _plain(value: Any) -> Any:
    """Convert a value to its form after YAML: tuples become lists (1 equals 1.0 anyway)."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def remove_temporary_files(folder: Path) -> None:
    """Delete the temporary files of a killed run's atomic writes (`segnet.system.files.replacing`)."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def write_errors_explained(folder: Path) -> Iterator[None]:
    """Turn file system errors within a run folder, such as a deleted folder, into one-line errors.

    `segnet.system.machine.explained` handles a full disk.

    Raises:
        MachineError: the file cannot be written; the message gives the reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK or not isinstance(error.filename, str):
            raise
        if not Path(error.filename).absolute().is_relative_to(folder.absolute()):
            raise
        require_run_folder(folder)
        raise MachineError(f"{error.filename}: cannot be written ({error.strerror})") from None


def require_run_folder(folder: Path) -> None:
    """Check that the run folder still exists.

    Raises:
        MachineError: it was deleted or moved.
    """
    if not folder.is_dir():
        raise MachineError(f"{folder}: the run folder was deleted or moved while the run was writing to it")
