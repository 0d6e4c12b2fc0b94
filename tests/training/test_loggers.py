"""Loggers besides metrics.csv: the same values, one record after resuming, one-line errors."""

import csv
from dataclasses import replace

import pytest
from tiny import CPU, configuration

from segnet.errors import ConfigError, MachineError
from segnet.training import loggers
from segnet.training.loggers import build_logger, mlflow_names
from segnet.workflows.train import train


@pytest.mark.parametrize("name", loggers.LOGGERS)
def test_a_missing_logger_package_is_refused_before_writing(name, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(MachineError, match=rf'^logger={name} needs .* pip install "segnet\[{name}\]"$'):
        train(configuration(logger={"name": name}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "wandbb"}, "logger.name=wandbb is unknown. Did you mean 'wandb'"),
        ({"name": "mlflow", "experimnt": "x"}, "logger.experimnt .*Did you mean 'experiment'"),
    ],
)
def test_an_invalid_logger_option_is_refused(spec, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        build_logger(spec, tmp_path)


def train_in_two_parts(folder, **spec):
    """Train two epochs, resume for a third; return the rows of metrics.csv that have a val mIoU."""
    config = configuration(logger=spec)
    train(config, folder)
    longer = {**CPU, "max_epochs": 3, "log_every_n_steps": 2}
    train(replace(config, trainer=longer, checkpoint=str(folder / "last.ckpt")), folder)
    with open(folder / "metrics.csv", newline="") as file:
        return [row for row in csv.DictReader(file) if row["val/miou"]]


def test_tensorboard_logs_the_values_of_metrics_csv(tmp_path):
    pytest.importorskip("tensorboard", reason="an optional package, and not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = train_in_two_parts(tmp_path / "run", name="tensorboard")
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    for name in ("val/miou", "val/iou/disk"):
        logged = [(event.step, event.value) for event in events.Scalars(name)]
        assert logged == [(int(row["step"]), pytest.approx(float(row[name]))) for row in rows]


def test_mlflow_logs_the_values_of_metrics_csv_in_one_run(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="an optional package, and not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    rows = train_in_two_parts(tmp_path / "run", name="mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("segnet")
    [run] = client.search_runs([experiment.experiment_id])
    assert run.data.params["optim/lr"] == "0.05"
    logged = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "val/miou")]
    assert logged == [(int(row["step"]), pytest.approx(float(row["val/miou"]))) for row in rows]


def test_wandb_offline_resumes_the_same_run(tmp_path):
    pytest.importorskip("wandb", reason="an optional package, and not installed")
    train_in_two_parts(tmp_path / "run", name="wandb", offline=True)
    records = {path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")}
    assert len(records) == 1


def test_wandb_without_an_account_is_a_one_line_error(tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="an optional package, and not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(MachineError, match=r"logger=wandb: .*logger\.offline=true"):
        train(configuration(logger={"name": "wandb"}), tmp_path / "run")


def test_metric_names_are_valid_for_mlflow():
    metrics = {"val/iou/[/x]": 1.0, "val/iou/(/x)": 2.0, "val/iou/a//..": 3.0, "val/iou/" + "x" * 500: 4.0, "lr": 5.0}
    renamed = mlflow_names(metrics)
    assert list(renamed.values()) == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert list(renamed)[:3] == ["val/iou/__x_", "val/iou/__x__", "val/iou/a____"]
    assert list(renamed)[4] == "lr"
    assert max(map(len, renamed)) <= 250
