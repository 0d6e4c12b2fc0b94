"""The web server around the application: uvicorn, and how it ends."""

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
    """Serve until a signal, then answer the requests under way; a second Ctrl-C quits at once.

    Called where signals raise Interrupted, see segnet.system.signals.ending_at_once.

    Args:
        listener: where connections come in.
        queue: in which the application's predictions run.
        timeout: of a request [seconds].
        uploads: the folder of uploads, deleted if the process ends without its caller.

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
        _Server(config, queue, uploads).run(sockets=[listener])  # sends itself the signal again when it has ended
    except Interrupted as error:
        if queue.running:  # nobody waits for it any more, but its thread would keep the process
            print(f"segnet: {error}, a prediction was under way", file=sys.stderr, flush=True)
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
        super().handle_exit(sig, frame)  # first: the next signal may come while the line is written
        if sig == signal.SIGINT and self._queue.num_taken:
            os.write(2, b"\nsegnet: answering what is under way; Ctrl-C again quits at once\n")
