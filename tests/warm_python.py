"""Python with torch, Lightning and segnet imported: programs run as forks of one process for all tests.

``[*WARM_PYTHON, "-m", "segnet", "train"]`` replaces ``[sys.executable, ...]`` in tests that need a process of their
own, but not its start, which takes seconds. Arguments, working folder, environment, umask, standard streams, signals
and the exit code are those of a new process. The process group, resource limits and open files are not, imports have
happened before, and fsync does not wait for the disk. Tests of these, of variables that an import reads, and of
encodings use `sys.executable`.

As a program, this file is the client, which hands a program over and waits for it. The first client starts the server.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from pathlib import Path

IS_SUPPORTED = hasattr(os, "pidfd_open")  # on Linux; elsewhere each program is a new process
WARM_PYTHON = [sys.executable, "-IS", os.path.abspath(__file__)] if IS_SUPPORTED else [sys.executable]
FOLDER = "SEGNET_WARM_PYTHON"  # environment variable: folder of the server's files
ADDRESS, LEASE, LOCK, LOG = "python.socket", "python.lease", "python.lock", "python.log"
FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
if IS_SUPPORTED:
    import fcntl


@contextlib.contextmanager
def lease(folder):
    """Let programs of this process use the server in a folder; the server ends when no process has a lease."""
    if not IS_SUPPORTED:
        yield
        return
    with open(Path(folder) / LEASE, "a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        os.environ[FOLDER] = str(folder)
        yield
        del os.environ[FOLDER]


# The client.


def client(arguments):
    """Run a program in the server, forward signals to it, and end like it."""
    if FOLDER not in os.environ or (arguments[0].startswith("-") and arguments[0] not in ("-c", "-m")):
        os.execv(sys.executable, [sys.executable, *arguments])
    pending, running = [], []

    def forward(signum, frame):
        pending.append(signum)
        send_pending()

    def send_pending():
        while running and pending:
            with contextlib.suppress(ProcessLookupError):
                os.kill(running[0], pending.pop(0))

    for name in FORWARDED:
        signal.signal(getattr(signal, name), forward)
    umask = os.umask(0)
    os.umask(umask)
    request = {
        "arguments": [portable(os.fsencode(word)) for word in arguments],
        "environment": {portable(name): portable(value) for name, value in os.environb.items()},
        "cwd": portable(os.getcwdb()),
        "umask": umask,
    }
    connection = connected(os.environ[FOLDER])
    message = json.dumps(request).encode()
    socket.send_fds(connection, [len(message).to_bytes(4, "big")], [0, 1, 2])
    connection.sendall(message)
    for descriptor in (0, 1):  # or the reader of the program's output waits for this process, too
        os.close(descriptor)
    running.append(int.from_bytes(connection.recv(4), "big"))
    send_pending()
    status = connection.recv(4)
    code = os.waitstatus_to_exitcode(int.from_bytes(status, "big")) if status else 1
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def portable(value):
    """Return bytes as text for JSON."""
    return value.decode("latin-1")


def original(text):
    """Return the text of a process's arguments or environment from `portable` bytes."""
    return os.fsdecode(text.encode("latin-1"))


def connected(folder):
    """Connect to the server, and start it if there is none."""
    os.chdir(folder)  # the path of a socket has at most 107 bytes
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(ADDRESS)
        except OSError:
            start_server()
            connection.connect(ADDRESS)
    return connection


def start_server():
    import subprocess

    with open(LOG, "ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, "--serve"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert process.stdout.read() == b"ready\n", Path(LOG).read_text()


# The server.


def preload():
    """Import what programs import late, too."""
    import gc
    import importlib
    import pkgutil

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    import segnet

    for module in pkgutil.walk_packages(segnet.__path__, "segnet."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("onnx", "onnxscript", "torch.onnx._internal.exporter._core", "uvicorn", "PIL.PngImagePlugin"):
        try:
            importlib.import_module(name)
        except ImportError:  # optional
            continue
    os.fsync = lambda descriptor: None  # as in the tests' own processes
    gc.freeze()  # a collection would copy the pages of all objects


def serve():
    """Fork for each request until no process has a lease; return the request in the forked process."""
    selector = selectors.DefaultSelector()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    Path(ADDRESS).unlink(missing_ok=True)  # of a server that has ended
    listener.bind(ADDRESS)
    listener.listen()
    selector.register(listener, selectors.EVENT_READ, "listener")
    lease_file = os.open(LEASE, os.O_RDWR)
    os.write(1, b"ready\n")
    os.dup2(2, 1)  # ends the pipe
    clients = {}  # pid -> connection
    while True:
        for key, _ in selector.select(timeout=3):
            if key.data == "listener":
                connection, _ = listener.accept()
                request, streams = received(connection)
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    for file in (listener, connection, *clients.values()):
                        file.close()
                    os.close(lease_file)
                    return request, streams
                for stream in streams:
                    os.close(stream)
                clients[pid] = connection
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)
                selector.register(connection, selectors.EVENT_READ, connection)
                answer(connection, pid)
            elif isinstance(key.data, int):  # a program has ended
                _, status = os.waitpid(key.data, 0)
                connection = clients.pop(key.data)
                answer(connection, status)
                for file in (key.fd, connection):
                    with contextlib.suppress(KeyError):
                        selector.unregister(file)
                connection.close()
                os.close(key.fd)
            else:  # a client has ended, probably killed
                for pid, connection in clients.items():
                    if connection is key.data:
                        os.kill(pid, signal.SIGKILL)
                        selector.unregister(connection)
        try:
            fcntl.flock(lease_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        for pid in clients:  # a failed test has left them
            os.kill(pid, signal.SIGKILL)
        os._exit(0)


def answer(connection, number):
    with contextlib.suppress(OSError):  # the client has been killed
        connection.sendall(number.to_bytes(4, "big"))


def received(connection):
    """Receive a request and its three standard streams."""
    size, streams, _, _ = socket.recv_fds(connection, 4, 3)
    missing, parts = int.from_bytes(size, "big"), []
    while missing:
        parts.append(connection.recv(missing))
        missing -= len(parts[-1])
    return json.loads(b"".join(parts)), streams


def become(request, streams):
    """Take over the state of a client."""
    import tempfile

    import numpy as np

    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(original(request["cwd"]))
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update({original(name): original(value) for name, value in request["environment"].items()})
    tempfile.tempdir = None  # or TMPDIR is not read again
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "utf-8").partition(":")
    sys.stdin = open(0, encoding=encoding, errors=errors or "strict", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding=encoding, errors=errors or "strict", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    np.random.seed()  # noqa: NPY002 (a new process has a new seed)


def run(arguments):
    """Run a program as `python ARGUMENTS` does: -c CODE, -m MODULE or a file."""
    import runpy
    import types

    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:0] = paths
    first, *sys.argv = arguments if arguments[0] == "-m" else ["", *arguments]
    if first == "-m":
        sys.path.insert(0, os.getcwd())
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    if sys.argv[0] == "-c":
        sys.path.insert(0, "")
        code = compile(sys.argv.pop(1), "<string>", "exec")
    else:
        module.__file__ = os.path.abspath(sys.argv[0])
        sys.path.insert(0, os.path.dirname(os.path.realpath(module.__file__)))
        code = compile(Path(module.__file__).read_bytes(), module.__file__, "exec")
    exec(code, module.__dict__)


def end(code):
    """End like Python, but without the second that it takes to delete all modules."""
    import atexit
    import threading

    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        preload()
        request, streams = serve()
        become(request, streams)
        try:
            run([original(word) for word in request["arguments"]])
        except SystemExit as caught:
            end(caught.code)
        end(None)
    else:
        client(sys.argv[1:])
