"""What several test files need once."""

import os

import pytest
import torch
from exports import Exports
from tiny import configuration

from segnet.workflows.train import train


def pytest_configure():
    """Tests that run side by side, and what they start, keep to a core each: waiting threads are slower than none."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """What is remembered of datasets lies in a folder of this session, in the processes that tests start too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of the smallest model: (folder, results). Nobody writes into it."""
    folder = tmp_path_factory.mktemp("run")
    return folder, train(configuration(), folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """A checkpoint of the smallest model and its exports; nobody changes them."""
    return Exports(tmp_path_factory.mktemp("exports"))
