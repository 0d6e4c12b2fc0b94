"""Run folders: which one a run continues, who is at work in it, and what a killed one left behind."""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from segnet.components import complete
from segnet.config import Config
from segnet.data import DATASETS
from segnet.errors import CheckpointError, ConfigError, MachineError
from segnet.models.checkpoint import read_checkpoint
from segnet.system.machine import FULL_DISK
from segnet.training.run_lock import in_use
from segnet.training.specs import TABLES

log = logging.getLogger(__name__)

AUTO_RESUME = "auto"
# Options that may change from one part of a run to the next without changing what comes out.
FREE = {
    *["checkpoint", "checkpoint_every", "checkpoint_minutes"],
    "logger",
    "profile",
    "worst_images",
    *["data.num_workers", "data.timeout", "data.check", "data.cache", "data.cache_size"],
    *["trainer.enable_progress_bar", "trainer.max_time", "trainer.profiler", "trainer.detect_anomaly"],
}


def chosen_checkpoint(config: Config, output_dir: Path) -> Path | None:
    """The checkpoint that a run continues; None: a new run.

    Args:
        config: `checkpoint` is a path, "auto" or None.
        output_dir: where a new run would write; "auto" looks into the folders beside it.

    Raises:
        CheckpointError: the named one cannot be used, or holds a model only.
    """
    if config.checkpoint is None:
        return None
    if config.checkpoint == AUTO_RESUME:
        found = _newest(config, output_dir.absolute().parent)
        log.info("checkpoint=auto: %s", f"going on with {found}" if found else "none of this configuration: a new run")
        return found
    path = Path(os.path.expanduser(config.checkpoint)).absolute()
    require_resumable(read_checkpoint(path), path)
    stored = _stored_config(path.parent)
    changed = differences(stored, config) if stored else []
    if changed:
        log.warning("the run resumes with changed options: %s", ", ".join(changed))
    return path


def run_folder(checkpoint: Path | None, output_dir: Path) -> Path:
    """Where a run writes: a continued one into its own folder, so that its metrics and its best stay together.

    A checkpoint that was taken out of its run folder is continued in `output_dir`.
    """
    return checkpoint.parent if checkpoint and (checkpoint.parent / "config.yaml").is_file() else output_dir


def require_resumable(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Raises:
    CheckpointError: the checkpoint holds a model, but not the state of its training.
    """
    if not {"optimizer_states", "lr_schedulers", "loops"} <= checkpoint.keys():
        raise CheckpointError(
            f"{path}: holds a model without the state of its training: start from it with init_from={path}"
        )


def _newest(config: Config, parent: Path) -> Path | None:
    """The usable checkpoint of the most steps in the run folders of one configuration.

    Copies and clocks of other machines change the times of files: among equally many steps only, the later one counts.
    """
    found = [path for path in parent.glob("*/*.ckpt") if not differences(_stored_config(path.parent), config)]
    usable: list[tuple[int, int, Path]] = []
    for path in sorted(found):
        if in_use(path.parent):
            log.warning("checkpoint=auto: passed over %s: another run is at work in that folder", path)
            continue
        try:
            checkpoint = read_checkpoint(path)
            require_resumable(checkpoint, path)
        except CheckpointError as error:
            log.warning("checkpoint=auto: passed over a file: %s", error)
            continue
        step = checkpoint.get("global_step", 0)
        usable.append((step if isinstance(step, int) else 0, path.stat().st_mtime_ns, path))
    return max(usable)[2] if usable else None


def _stored_config(folder: Path) -> dict[str, Any]:
    """config.yaml of a run folder; empty where there is none that can be read."""
    try:
        stored = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return stored if isinstance(stored, dict) else {}


def dataset_of_run(checkpoint: Path, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the dataset that a checkpoint was trained on, from the config.yaml beside it.

    Args:
        dataset: options that replace those of the run, such as another root.

    Raises:
        CheckpointError: no such checkpoint.
        ConfigError: no config.yaml beside it names a dataset.
    """
    if not checkpoint.is_file():
        raise CheckpointError(f"{checkpoint}: no such checkpoint")
    trained_on = _stored_config(checkpoint.parent).get("dataset")
    if not isinstance(trained_on, dict) or "name" not in trained_on:
        raise ConfigError(
            f"dataset is not set, and no config.yaml beside {checkpoint} names that of its run: add dataset=..."
        )
    return {**trained_on, **dataset}


def differences(stored: Mapping[str, Any], config: Config) -> list[str]:
    """The options that would change what comes out, as "optim.lr=0.1 (was 0.2)".

    An option that `stored` lacks, because it is newer than the run, has its default. A mean or std that is not
    configured is the run's own.
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
            continue  # of another component, which has options of its own
        if _plain(old) != _plain(new):
            changed.append(f"{key}={new} (was {old})")
    return sorted(changed)


def _complete(sections: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with all options of its components, so that it does not matter which of them were written."""
    shared = {"output_stride": sections.get("output_stride"), "norm": sections.get("norm")}
    completed = dict(sections)
    for name, table in {**TABLES, "dataset": DATASETS}.items():
        if isinstance(spec := sections.get(name), dict):
            completed[name] = complete(table, spec, **shared)
    return completed


def flat_options(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as {"optim.lr": 0.1}."""
    flat: dict[str, Any] = {}
    for name, value in sections.items():
        if isinstance(value, dict):
            flat |= flat_options(value, f"{prefix}{name}.")
        else:
            flat[prefix + str(name)] = value
    return flat


def _plain(value: Any) -> Any:
    """As YAML gives it back: tuples are lists, and 1 equals 1.0."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def remove_torn_files(folder: Path) -> None:
    """Remove the temporary files that a killed run left behind (`segnet.system.files.replacing`)."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def writes_explained(folder: Path) -> Iterator[None]:
    """Turn errors of the file system below a run folder into one line each, such as those of a deleted folder.

    A full disk is left to `segnet.system.machine.explained`.

    Raises:
        MachineError: the file that cannot be written, and the reason.
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
    """Raises:
    MachineError: the run folder is no longer there.
    """
    if not folder.is_dir():
        raise MachineError(f"{folder}: the run folder was deleted or moved while the run was writing to it")
