"""A local server that takes the place of the network."""

import pytest
from loopback import serving


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    with serving() as server:
        yield server
