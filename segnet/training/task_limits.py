"""Options of a training that need one class per pixel, and the check that a run resumes with its own task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segnet.classes import MULTICLASS, Classes
from segnet.config import Config
from segnet.errors import CheckpointError


def require_fitting_task(
    config: Config, classes: Classes, resumed: Mapping[str, Any] | None, checkpoint: Path | None
) -> None:
    """Check that the options fit the task of the dataset.

    Args:
        resumed: the content of `checkpoint`, the one to resume from; None: a new run.

    Raises:
        ConfigError: an option that needs one class per pixel.
        CheckpointError: the run to resume has another task.
    """
    trained = MULTICLASS if resumed is None else resumed["hyper_parameters"]["classes"].get("task", MULTICLASS)
    if resumed is not None and trained != classes.task:
        raise CheckpointError(f"{checkpoint}: is a run of task={trained}, but the dataset has task={classes.task}")
    for name in ("teacher", "unlabeled", "boundary"):
        if (value := getattr(config, name)) is not None:
            classes.require_one_class(f"{name}={value}")
