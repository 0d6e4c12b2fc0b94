"""The web server: uvicorn with graceful shutdown."""

import os
import shutil
import signal
import socket
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from segnet.errors import Interrupted
from segnet.serving.connections import GuardedProtocol
from segnet.serving.jobs import JobQueue


def run_server(app: ASGIApp, listener: socket.socket, queue: JobQueue, timeout: float, uploads: Path) -> None:
    """Serve until a signal, then answer requests in progress; a second Ctrl-C quits at once.

    Signals must raise Interrupted in the caller, see segnet.system.signals.ending_at_once.

    Args:
        listener: the listening socket.
        queue: the queue that runs predictions.
        timeout: limit of a request [seconds].
        uploads: folder of uploads, deleted if the process quits at once.

    Raises:
        Interrupted: the signal.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_level="error",
        lifespan="off",
        ws="none",
        server_header=False,
        http=type("Protocol", (GuardedProtocol,), {"request_seconds": timeout}),
        timeout_graceful_shutdown=int(timeout) + 1,
    )
    try:
        _Server(config, queue, uploads).run(sockets=[listener])  # raises the signal again after the shutdown
    except Interrupted as error:
        if queue.running:  # its client is gone, but its thread would keep the process alive
            print(f"segnet: {error}, a prediction was in progress", file=sys.stderr, flush=True)
            _quit(error.exit_code, uploads)
        raise


def _quit(code: int, uploads: Path) -> NoReturn:
    shutil.rmtree(uploads, ignore_errors=True)
    os._exit(code)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, queue: JobQueue, uploads: Path) -> None:
        super().__init__(config)
        self._queue = queue
        self._uploads = uploads

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and self.should_exit:
            os.write(2, b"segnet: quit\n")
            _quit(128 + sig, self._uploads)
        super().handle_exit(sig, frame)  # first: another signal may arrive during the write
        if sig == signal.SIGINT and self._queue.num_taken:
            os.write(2, b"\nsegnet: answering requests in progress; press Ctrl-C again to quit at once\n")
