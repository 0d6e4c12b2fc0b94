"""What several test files need once."""

import pytest
from tiny import configuration

from segnet.training import train


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of the smallest model: (folder, results). Nobody writes into it."""
    folder = tmp_path_factory.mktemp("run")
    return folder, train(configuration(), folder)
