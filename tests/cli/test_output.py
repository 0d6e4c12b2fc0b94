"""Control characters are escaped in all output: lines, errors, logs, warnings, stack traces."""

import logging
import subprocess
import sys
import warnings

import pytest
from warm_python import WARM_PYTHON

from segnet import cli
from segnet.cli.output import protect_terminal, say
from segnet.errors import DataError

NASTY = "a\x1b[2Jb\r\u202e.png"


@pytest.fixture
def _protected():
    factory, hook = logging.getLogRecordFactory(), sys.excepthook
    protect_terminal()
    yield
    logging.setLogRecordFactory(factory)
    logging.captureWarnings(False)
    sys.excepthook = hook


def test_control_characters_are_escaped_in_lines_and_errors(capsys, monkeypatch):
    def fail(arguments, verb):
        raise DataError(f"{NASTY}: is damaged")

    say("wrote", NASTY)
    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(SystemExit):
        cli.main(["predict"])
    printed = capsys.readouterr()
    assert printed.out == "wrote a\\x1b[2Jb\\r\\u202e.png\n"
    assert printed.err == "segnet: error: a\\x1b[2Jb\\r\\u202e.png: is damaged\n"


@pytest.mark.usefixtures("_protected")
def test_control_characters_are_escaped_in_logs_and_warnings(caplog):
    logging.getLogger("segnet.data").warning("%s: two\nlines", NASTY)
    logging.getLogger("other").warning("%s: two\nlines", NASTY)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(NASTY, stacklevel=1)
    ours, theirs, warned = (record.getMessage() for record in caplog.records)
    assert ours == "a\\x1b[2Jb\\r\\u202e.png: two\\nlines"
    assert theirs == "a\\x1b[2Jb\\r\\u202e.png: two\nlines"
    assert "\\x1b[2J" in warned
    assert "\x1b" not in warned


def test_control_characters_are_escaped_in_stack_traces():
    code = "from segnet.cli.output import *; protect_terminal(); raise IndexError('a\\x1bb')"
    printed = subprocess.run([*WARM_PYTHON, "-c", code], capture_output=True, text=True, check=False).stderr
    assert printed.splitlines()[-1] == "IndexError: a\\x1bb"
    assert len(printed.splitlines()) > 2
