"""Errors, run folders and representations in a notebook, of all functions of the public API."""

import pytest
from tiny import configuration

import segnet
from segnet.config import Config
from segnet.errors import CheckpointError, ConfigError, DataError, MachineError, SegnetError


def test_results_have_a_notebook_representation(trained, tmp_path):
    inspected = segnet.inspect(dataset="shapes", dataset__num_train=2, dataset__num_val=1, output_dir=tmp_path)
    for result in (trained, inspected):
        shown = result._repr_mimebundle_(include=None, exclude=None)
        assert "background" in shown["text/html"]
        assert type(result).__name__ in shown["text/plain"]
    assert f"mIoU {100 * trained.miou:.1f} %)" in repr(trained)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: segnet.train(dataset="foldr"), ConfigError),
        (lambda: segnet.train(Config(), "seed=1"), ConfigError),
        (lambda: segnet.train("seed=1", Config()), ConfigError),
        (lambda: segnet.train("--help"), ConfigError),
        (lambda: segnet.train(dataset="folder", dataset__root="nowhere", dataset__class_names=["a", "b"]), DataError),
        (lambda: segnet.train(configuration(), backbone_weights="nowhere.pth"), CheckpointError),
        (lambda: segnet.evaluate(dataset="shapes"), ConfigError),
        (lambda: segnet.evaluate(checkpoint="nowhere.ckpt"), SegnetError),
        (lambda: segnet.evaluate(configuration()), ConfigError),
        (lambda: segnet.evaluate(checkpoint="nowhere.ckpt", dataset="shapes"), CheckpointError),
        (lambda: segnet.inspect(), ConfigError),
        (lambda: segnet.crossval(configuration(), folds=1), ConfigError),
        (lambda: segnet.compare("a.ckpt"), ConfigError),
        (lambda: segnet.compare(first="nowhere.ckpt", second="no.ckpt", dataset="shapes"), CheckpointError),
        (lambda: segnet.doubt(dataset="shapes"), ConfigError),
        (lambda: segnet.doubt(crossval="nowhere"), ConfigError),
        (lambda: segnet.doubt(checkpoint="nowhere.ckpt"), SegnetError),
        (lambda: segnet.export("nowhere.ckpt"), CheckpointError),
        (lambda: segnet.export("nowhere.ckpt", "onx"), ConfigError),
        (lambda: segnet.export("nowhere.ckpt", int8=True), ConfigError),
    ],
)
def test_errors_are_exceptions_of_one_line_and_leave_no_folder(call, error, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as raised:
        call()
    assert isinstance(raised.value, SegnetError)
    assert "\n" not in str(raised.value)
    assert not [path for path in tmp_path.rglob("*") if path.name != "runs"]


def test_an_impossible_run_folder_is_reported(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="choose another output_dir"):
        segnet.train(output_dir=tmp_path / "file" / "run")
