"""A finished run of two processes."""

import pytest
from two_processes import TWO, segnet


@pytest.fixture(scope="session")
def two(tmp_path_factory):
    """A finished run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    code, output = segnet(TWO, folder)
    assert code == 0, output
    return folder
