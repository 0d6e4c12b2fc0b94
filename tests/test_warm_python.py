"""Programs of WARM_PYTHON behave as in a new process."""

import os
import select
import signal
import subprocess
import sys

import pytest
from warm_python import IS_SUPPORTED, WARM_PYTHON

pytestmark = pytest.mark.skipif(not IS_SUPPORTED, reason="needs Linux")

STATE = """
import os, sys, tempfile
mask = os.umask(0)
print(sys.argv, os.getcwd(), sorted(os.environ.items()), mask, tempfile.gettempdir(), sys.stdin.read(), __name__)
"""


def ended(python, *arguments, **options):
    done = subprocess.run([*python, *arguments], capture_output=True, **options)
    return done.returncode, done.stdout, done.stderr


def test_a_program_has_the_arguments_streams_and_environment_of_its_caller(tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "WORD": "Straße"}
    options = {"cwd": tmp_path, "env": environment, "umask": 0o027, "input": b"typed"}
    code, printed, _ = ended(WARM_PYTHON, "-c", STATE, "ä", b"\xff", **options)
    expected = ended([sys.executable], "-c", STATE, "ä", b"\xff", **options)
    assert (code, printed) == expected[:2]
    assert b"typed" in printed


@pytest.mark.parametrize(
    "code",
    [
        "print(1)",
        "raise SystemExit(7)",
        "raise SystemExit('the reason')",
        "import os; os.kill(os.getpid(), 9)",
        "import atexit; atexit.register(print, 'at exit'); raise SystemExit(3)",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()",
    ],
)
def test_a_program_ends_as_in_a_new_process(code):
    assert ended(WARM_PYTHON, "-c", code) == ended([sys.executable], "-c", code)


def test_an_exception_prints_a_stack_trace():
    code, _, errors = ended(WARM_PYTHON, "-c", "1 / 0")
    assert code == 1
    assert errors.splitlines()[-1] == b"ZeroDivisionError: division by zero"


def test_modules_and_files_run_as_main(tmp_path):
    (tmp_path / "program.py").write_text("import sys\nimport other\nprint(__name__, __file__, sys.argv[1:], other.x)\n")
    (tmp_path / "other.py").write_text("x = 5\n")
    for arguments in (["program.py", "a"], ["-m", "program", "a"]):
        found = ended(WARM_PYTHON, *arguments, cwd=tmp_path)
        assert found == ended([sys.executable], *arguments, cwd=tmp_path)
        assert b"__main__" in found[1]


@pytest.mark.parametrize(("signum", "expected"), [(signal.SIGTERM, -15), (signal.SIGINT, -2), (signal.SIGKILL, -9)])
def test_a_signal_reaches_the_program(signum, expected):
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    process = subprocess.Popen([*WARM_PYTHON, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    program = os.pidfd_open(int(process.stdout.readline()))
    process.send_signal(signum)
    process.communicate()
    assert process.returncode == expected
    assert select.select([program], [], [], 60)[0]  # the program has ended, too
    os.close(program)
