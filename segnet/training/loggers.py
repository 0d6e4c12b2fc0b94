"""Where a run's metrics go besides metrics.csv: TensorBoard, Weights & Biases, MLflow. Each is an optional package.

A resumed run continues its own record there too.
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

MLFLOW_NAME_LENGTH = 200  # of a class name in a metric's [characters]; MLflow takes 250 in all
RUN_ID = "mlflow_run_id"  # file in the run folder


def build_logger(spec: Mapping[str, Any], folder: Path) -> Logger:
    """The logger that `logger=` names.

    Args:
        spec: from LOGGERS.
        folder: of the run; nothing is written into it yet.

    Raises:
        ConfigError: an unknown logger or option.
        MachineError: its package is not installed.
    """
    return build("logger", LOGGERS, spec, folder=folder.absolute())


def _require_package(package: str) -> None:
    if find_spec(package) is None:
        raise MachineError(f'logger={package} needs the package {package}: pip install "segnet[{package}]"')


def tensorboard(folder: Path) -> Logger:
    """Event files in the run folder's `tensorboard`."""
    _require_package("tensorboard")
    return TensorBoardLogger(folder, name="tensorboard", version="", default_hp_metric=False)


def wandb(folder: Path, project: str = "segnet", entity: str | None = None, offline: bool = False) -> Logger:
    """A run of Weights & Biases.

    Args:
        project, entity: where the run is listed; no entity: the account's own.
        offline: whether it is only written into the run folder, for `wandb sync`.
    """
    _require_package("wandb")
    identity = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    mode = "offline" if offline else None  # not Lightning's own option, which changes the environment
    return _Wandb(folder.name, folder, identity, project=project, entity=entity, mode=mode)


def mlflow(folder: Path, experiment: str = "segnet", tracking_uri: str | None = None) -> Logger:
    """A run of MLflow.

    Args:
        experiment: under which the run is listed.
        tracking_uri: of the server; None: MLFLOW_TRACKING_URI, or else mlflow.db beside the run folder.
    """
    _require_package("mlflow")
    return _MLflow(folder, experiment, tracking_uri)


LOGGERS: dict[str, Callable[..., Logger]] = {"tensorboard": tensorboard, "wandb": wandb, "mlflow": mlflow}


def mlflow_names(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics by names that MLflow accepts, whatever a class is called: other characters become "_"."""
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
    """Lightning's, which ends its record with the training: the next run of a sweep would go on in it."""

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
    """Lightning's, which remembers its record in the run folder."""

    def __init__(self, folder: Path, experiment: str, tracking_uri: str | None) -> None:
        from mlflow import get_tracking_uri
        from mlflow.environment_variables import MLFLOW_TRACKING_URI

        self._remembered = folder / RUN_ID
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
        if self._remembered.exists():
            self._run_id = self._remembered.read_text(encoding="utf-8").strip()
        try:
            client = super().experiment
        except Exception as error:
            raise MachineError(f"logger=mlflow: {self._tracking_uri}: {first_line(error)}") from None
        self._remembered.write_text(f"{self._run_id}\n", encoding="utf-8")
        return client

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics(mlflow_names(metrics), step)

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Begins a new record: only new runs are described, and MLflow lets no description change."""
        self._remembered.unlink(missing_ok=True)
        super().log_hyperparams(params)
