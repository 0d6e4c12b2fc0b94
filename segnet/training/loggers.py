"""Experiment loggers besides metrics.csv: TensorBoard, Weights & Biases, MLflow. Each is an optional package.

A resumed run continues the same record of its logger.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from segnet.components import build
from segnet.errors import MachineError, first_line
from segnet.training.metrics import IOU

MLFLOW_NAME_LENGTH = 200  # class name within a metric's name [characters]; MLflow accepts 250 in total
RUN_ID = "mlflow_run_id"  # file in the run folder


def build_logger(spec: Mapping[str, Any], folder: Path) -> Logger:
    """Build the logger selected by `logger=`.

    Args:
        spec: name and options of an entry of LOGGERS.
        folder: the run folder; this function writes nothing into it.

    Raises:
        ConfigError: an unknown logger or option.
        MachineError: the logger's package is not installed.
    """
    return build("logger", LOGGERS, spec, folder=folder.absolute())


def _require_package(package: str) -> None:
    if find_spec(package) is None:
        raise MachineError(f'logger={package} needs the package {package}: pip install "segnet[{package}]"')


def tensorboard(folder: Path) -> Logger:
    """TensorBoard event files in the run folder's `tensorboard`."""
    _require_package("tensorboard")
    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


def wandb(folder: Path, project: str = "segnet", entity: str | None = None, offline: bool = False) -> Logger:
    """Weights & Biases run.

    Args:
        project, entity: the run's project and its owner; the default owner is the account itself.
        offline: write into the run folder only; `wandb sync` uploads it later.
    """
    _require_package("wandb")
    identity = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    mode = "offline" if offline else None  # Lightning's own option would change the environment
    return _Wandb(folder.name, folder, identity, project=project, entity=entity, mode=mode)


def mlflow(folder: Path, experiment: str = "segnet", tracking_uri: str | None = None) -> Logger:
    """MLflow run.

    Args:
        experiment: the run's MLflow experiment.
        tracking_uri: the tracking server; the default is MLFLOW_TRACKING_URI, or else mlflow.db next to the run folder.
    """
    _require_package("mlflow")
    return _MLflow(folder, experiment, tracking_uri)


LOGGERS: dict[str, Callable[..., Logger]] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}


def mlflow_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Rename metrics so that MLflow accepts them: "_" replaces invalid characters of class names."""
    renamed: dict[str, float] = {}
    for name, value in metrics.items():
        prefix = IOU if name.startswith(IOU) else ""
        rest = name.removeprefix(prefix)
        name = prefix + re.sub(r"[^\w\- ]" if prefix else r"[^\w\- ./]", "_", rest)[:MLFLOW_NAME_LENGTH]
        while name in renamed:
            name += "_"
        renamed[name] = value
    return renamed


class _Wandb(WandbLogger):
    """WandbLogger that finishes its record after training; a sweep's next run would continue it otherwise."""

    @property
    def experiment(self) -> Any:
        try:
            return super().experiment
        except Exception as error:
            raise MachineError(
                f"logger=wandb: {first_line(error)}: log in with `wandb login`, or set logger.offline=true"
            ) from None

    @rank_zero_only
    def finalize(self, status: str) -> None:
        super().finalize(status)
        if self._experiment is not None:
            self._experiment.finish(exit_code=0 if status == "success" else 1)
            self._experiment = None


class _MLflow(MLFlowLogger):
    """MLFlowLogger that stores its run id in the run folder, so that a resumed run continues the record."""

    def __init__(self, folder: Path, experiment: str, tracking_uri: str | None) -> None:
        from mlflow import get_tracking_uri
        from mlflow.environment_variables import MLFLOW_TRACKING_URI

        self._id_file = folder / RUN_ID
        if tracking_uri is None and MLFLOW_TRACKING_URI.is_set():
            tracking_uri = get_tracking_uri()
        super().__init__(
            experiment,
            folder.name,
            tracking_uri or f"sqlite:///{folder.parent / 'mlflow.db'}",
            artifact_location=None if tracking_uri else (folder.parent / "mlflow_artifacts").as_uri(),
        )

    @property
    def experiment(self) -> Any:
        if self._initialized or rank_zero_only.rank != 0:  # type: ignore[attr-defined]  # Lightning sets it so
            return super().experiment
        if self._id_file.exists():
            self._run_id = self._id_file.read_text(encoding="utf-8").strip()
        try:
            client = super().experiment
        except Exception as error:
            raise MachineError(f"logger=mlflow: {self._tracking_uri}: {first_line(error)}") from None
        self._id_file.write_text(f"{self._run_id}\n", encoding="utf-8")
        return client

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(mlflow_names(metrics), step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Start a new record. Only new runs log options, because MLflow never lets them change."""
        self._id_file.unlink(missing_ok=True)
        super().log_hyperparams(params)
