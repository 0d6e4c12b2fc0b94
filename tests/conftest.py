"""Fixtures shared by several test files.

Imports of torch and segnet take seconds, and are late: the process that distributes parallel tests needs none of them.
"""

import gc
import ipaddress
import os
import socket

import pytest
import warm_python

# One core for each test and its subprocesses: threads would wait more than they compute on small tensors.
os.environ.setdefault("OMP_NUM_THREADS", "1")


# Imports create a million objects that stay: garbage collections would visit them again and again.
gc.disable()


def pytest_collection_finish(session):
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    """Keep the scan cache in a folder of this session, also for subprocesses."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_fsync():
    """Do not wait for the disk, which takes longer than many tests: no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    """A connection to another machine fails the test, even if the tested code handles the error."""
    connect = socket.socket.connect

    def checked(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            pytest.fail(f"a test connects to {address[0]}")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked)
        patch.setenv("HF_HUB_OFFLINE", "1")  # for the processes that tests start
        yield


@pytest.fixture(scope="session", autouse=True)
def _warm_python(tmp_path_factory):
    """Let the commands of WARM_PYTHON share one server, also those of parallel tests."""
    with warm_python.lease(shared_folder(tmp_path_factory)):
        yield


def shared_folder(tmp_path_factory):
    """Return the temporary folder of all parallel tests, where files can be locked; else that of this process."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if warm_python.IS_SUPPORTED and "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A finished run of a tiny model: (folder, results). Tests must not write to it."""
    from tiny import configuration

    from segnet.workflows.train import train

    folder = tmp_path_factory.mktemp("run")
    return folder, train(configuration(), folder)


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """A finished run of a tiny model with several classes per pixel, EMA and CutMix: (folder, results)."""
    from dataclasses import replace

    from tiny import OVERLAPPING, configuration

    from segnet.config import EmaConfig
    from segnet.workflows.train import train

    folder = tmp_path_factory.mktemp("several")
    config = configuration(dataset=OVERLAPPING, loss={"name": "bce_dice"}, ema=EmaConfig(decay=0.9), worst_images=1)
    return folder, train(replace(config, data=replace(config.data, cutmix=1.0)), folder)


@pytest.fixture(scope="session")
def exports(tmp_path_factory):
    """A checkpoint of a tiny model and its exports; tests must not change them."""
    from exports import Exports

    return Exports(shared_folder(tmp_path_factory) / "exports")


@pytest.fixture(scope="module")  # while it is open, asyncio.run of other tests would fail
def browser():
    """A headless Chromium; the test is skipped without one."""
    from chromium import chromium

    with chromium() as opened:
        yield opened
