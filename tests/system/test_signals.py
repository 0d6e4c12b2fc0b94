"""Signals that ask a process to end: recorded, obeyed at once, or kept from data loader workers."""

import contextlib
import os
import pickle
import signal
import subprocess
import time
from pathlib import Path

import pytest
from warm_python import WARM_PYTHON

from segnet.errors import Interrupted
from segnet.system.signals import ENDING, StopRequest, ending_at_once, name_of, shield_worker

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def handlers():
    before = {signum: signal.getsignal(signum) for signum in ENDING}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", ENDING)
def test_the_first_signal_is_recorded(signum):
    request = StopRequest()
    request.listen()
    assert request.signum == 0
    os.kill(os.getpid(), signum)
    os.kill(os.getpid(), signal.SIGTERM)
    assert request.signum == signum


TWICE = """
import os, signal
from segnet.system.signals import StopRequest
StopRequest().listen()
os.kill(os.getpid(), signal.SIGINT)
print("once", flush=True)
os.kill(os.getpid(), signal.SIGINT)
print("twice", flush=True)
"""


def test_a_second_ctrl_c_quits_at_once():
    done = subprocess.run(
        [*WARM_PYTHON, "-c", TWICE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 130
    assert done.stdout == "once\n"
    assert "Ctrl-C again to quit" in done.stderr


def test_repeatable_work_ends_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Interrupted, match="SIGTERM during the evaluation") as caught,
        ending_at_once("during the evaluation"),
    ):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught.value.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_survives_signals_to_its_process_group():
    process = os.fork()
    if process == 0:
        shield_worker()
        for signum in ENDING:
            os.kill(os.getpid(), signum)
        left = signal.alarm(0)
        os._exit(42 if 0 < left <= 30 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 42


def test_signal_names_are_readable():
    assert (name_of(signal.SIGINT), name_of(signal.SIGTERM)) == ("Ctrl-C", "SIGTERM")


def caught_by_a_library():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    except Exception as error:  # as many libraries do
        raise RuntimeError("another error") from error


def swallowed_in_a_destructor():
    with contextlib.suppress(BaseException):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    raise ValueError("an error of incomplete work")


@pytest.mark.parametrize("work", [caught_by_a_library, swallowed_in_a_destructor])
def test_a_signal_ends_the_work_even_if_a_library_catches_it(work):
    with pytest.raises(Interrupted, match="SIGTERM while exporting"), ending_at_once("while exporting"):
        work()


def test_an_interruption_survives_pickling():
    again = pickle.loads(pickle.dumps(Interrupted(15, "SIGTERM at step 3")))
    assert (str(again), again.exit_code) == ("SIGTERM at step 3", 143)
