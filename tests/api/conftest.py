"""A finished run, started from Python."""

import pytest
from calling import KEYWORDS

import segnet


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run with keyword options."""
    return segnet.train(**KEYWORDS, output_dir=tmp_path_factory.mktemp("keywords"))
