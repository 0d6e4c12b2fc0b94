"""config.yaml and chosen.yaml of a run folder: the resolved configuration, and the chosen values of null options."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from segnet.config import Config
from segnet.system.files import replacing
from segnet.training.plan import BY_HAND, WARMUP_FRACTION, WITHOUT_AUGMENT, chosen, filled

CHOSEN = "chosen.yaml"  # the chosen values of null options, in the run folder
# Values of null options in run folders without chosen.yaml: the fixed defaults of earlier versions.
BEFORE_PLANS: dict[str, Any] = {
    **WITHOUT_AUGMENT,
    "data.batch_size": 8,
    "data.crop_size": [512, 512],
    "optim.name": "sgd",
    "optim.lr": 0.01,
    "optim.batch_size": 8,
    "optim.weight_decay": 1e-4,
    "optim.norm_decay": True,
    "optim.schedule": "poly",
    "optim.warmup_steps": 0,
    "ema.decay": None,
    "trainer.max_epochs": 50,
}


def chosen_in(folder: Path) -> dict[str, Any]:
    """Return the chosen values of a run's null options; for runs of earlier versions their former defaults."""
    found = stored_choices(folder)
    return {**WITHOUT_AUGMENT, **BY_HAND, **found} if found else dict(BEFORE_PLANS)


def stored_choices(folder: Path) -> dict[str, Any]:
    """Read a run folder's chosen.yaml; empty if nothing was chosen."""
    return _read_yaml(folder / CHOSEN)


def with_choices_of_run(config: Config, checkpoint: Path, optim: Mapping[str, Any]) -> Config:
    """Return the configuration of a resumed run: null options keep the run's values.

    Args:
        config: the configuration, with nulls.
        checkpoint: the checkpoint to resume from; its folder may contain config.yaml.
        optim: the optimizer options in the checkpoint.
    """
    of_checkpoint = {f"optim.{name}": value for name, value in optim.items()}
    stored = flat_options(stored_config(checkpoint.parent))
    return filled(config, {**BEFORE_PLANS, **of_checkpoint, **stored} if stored else of_checkpoint)


def write_config(folder: Path, config: Config, given: Config) -> None:
    """Write config.yaml, and chosen.yaml if options were chosen.

    Args:
        config: the resolved configuration.
        given: the given configuration, with nulls.
    """
    options = chosen(given, config)
    for name, values in (("config.yaml", asdict(config)), *([(CHOSEN, options)] if options else [])):
        with replacing(folder / name) as temporary:
            temporary.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")


def add_steps(folder: Path, num_steps: int, interval: int | None) -> None:
    """Add the number of steps of a run with a budget to chosen.yaml, to repeat the run without a budget.

    Args:
        interval: batches between two validations; None: keep the chosen interval.
    """
    options = stored_choices(folder) | {"trainer.max_steps": num_steps}
    if interval is not None and "trainer.val_check_interval" in options:
        options["trainer.val_check_interval"] = min(interval, num_steps)
    if "optim.warmup_steps" in options:  # the clock may have ended the warm-up earlier
        options["optim.warmup_steps"] = min(options["optim.warmup_steps"], int(WARMUP_FRACTION * num_steps))
    with replacing(folder / CHOSEN) as temporary:
        temporary.write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")


def stored_config(folder: Path) -> dict[str, Any]:
    """Read a run folder's config.yaml; empty if it is missing or unreadable."""
    return _read_yaml(folder / "config.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return stored if isinstance(stored, dict) else {}


def flat_options(sections: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested sections to {"optim.lr": 0.1}."""
    flat: dict[str, Any] = {}
    for name, value in sections.items():
        if isinstance(value, dict):
            flat |= flat_options(value, f"{prefix}{name}.")
        else:
            flat[prefix + str(name)] = value
    return flat
