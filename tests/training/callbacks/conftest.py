"""Uninterrupted runs, which interrupted ones must equal."""

import pytest
from resumption import configuration, outcome

from segnet.workflows.train import train


@pytest.fixture
def no_curves(monkeypatch):
    """Leave out the plot at the end of each run, which takes as long as an epoch here; tests of `train` check it."""
    monkeypatch.setattr("segnet.workflows.train.plot_curves", lambda metrics, target: None)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory):
    """Return a function that gives the outcome of an uninterrupted run, cached per set of options."""
    done = {}

    def run(trainer):
        key = tuple(sorted(trainer.items()))
        if key not in done:
            folder = tmp_path_factory.mktemp("unbroken")
            train(configuration(trainer), folder)
            done[key] = outcome(folder)
        return done[key]

    return run
