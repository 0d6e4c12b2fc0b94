"""The `segnet` command: verbs and exit codes."""

import subprocess
import sys
from pathlib import Path

import pytest
from warm_python import WARM_PYTHON

from segnet import cli
from segnet.errors import CheckpointError, ConfigError, DataError, Interrupted, MachineError

ROOT = Path(__file__).resolve().parents[2]


def exit_code(argv):
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError, 2), (DataError, 3), (CheckpointError, 4), (MachineError, 5), (KeyboardInterrupt, 130)],
)
def test_each_kind_of_error_has_its_exit_code_and_one_line(error, code, monkeypatch, capsys):
    def fail(arguments, verb):
        raise error("what\nwhere")

    monkeypatch.setattr(cli, "_run", fail)
    assert exit_code(["train"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(("message", "lines"), [("SIGTERM at step 3", 1), ("", 0)])
def test_a_signal_sets_the_exit_code_and_one_process_reports_it(message, lines, monkeypatch, capsys):
    def fail(arguments, verb):
        raise Interrupted(15, message)

    monkeypatch.setattr(cli, "_run", fail)
    assert exit_code(["train"]) == 143
    printed = capsys.readouterr().err
    assert printed.count("\n") == lines
    assert "error" not in printed


def test_internal_errors_keep_their_stack_trace(monkeypatch):
    def fail(arguments, verb):
        raise IndexError("a bug")

    monkeypatch.setattr(cli, "_run", fail)
    with pytest.raises(IndexError):
        cli.main(["train"])


def test_a_misspelled_verb_gets_a_suggestion(capsys):
    assert exit_code(["trian"]) == 2
    assert "Did you mean 'train'?" in capsys.readouterr().err


def test_without_a_verb_the_verbs_are_listed(capsys):
    assert exit_code([]) == 2
    assert exit_code(["--help"]) == 0
    listed = capsys.readouterr().out
    for verb in cli.VERBS:
        assert verb in listed


@pytest.mark.parametrize("command", [["train.py"], ["-m", "segnet", "train"]])
def test_every_entry_point_reports_a_wrong_option_alike(command):
    done = subprocess.run(
        [*WARM_PYTHON, *command, "backbone=resnet19_vd"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("segnet: error: backbone=resnet19_vd is unknown. Did you mean 'resnet18_vd'?")
    assert done.stderr.count("\n") == 1


COMMAND = """
import atexit, sys
from segnet import cli

class Freed:
    def __del__(self):
        print("freed")

def main(verb):
    print(verb)
    atexit.register(print, "at exit")
    {end}

kept = Freed()
cli.main = main
cli.command("predict")
"""


@pytest.mark.parametrize(
    ("end", "code", "printed"),
    [
        ("sys.exit(6)", 6, ["predict", "at exit"]),
        ("sys.exit(0)", 0, ["predict", "at exit"]),
        ("raise IndexError('a bug')", 1, ["predict", "at exit", "freed"]),
        ("sys.exit('a message')", 1, ["predict", "at exit", "freed"]),
    ],
)
def test_a_command_ends_without_freeing_modules(end, code, printed):
    done = subprocess.run([sys.executable, "-c", COMMAND.format(end=end)], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout.split("\n")[:-1] == printed
    assert ("a bug" in done.stderr) == ("bug" in end)
