"""The web server around the application: uvicorn, and how it ends."""

import os
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from segnet.errors import Interrupted
from segnet.serving.jobs import JobQueue
from segnet.signals import ending_at_once

MAX_CONNECTIONS = 512  # open at a time, far above what the queue takes: a barrier against those that ask nothing


def run_server(app: ASGIApp, listener: socket.socket, queue: JobQueue, timeout: float) -> None:
    """Serves until a signal comes, then answers what is under way; a second Ctrl-C quits at once.

    Args:
        listener: where connections come in.
        queue: in which the application's predictions run.
        timeout: of a request [seconds].

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
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=int(timeout) + 1,
    )
    try:
        with ending_at_once("ended the server"):
            _Server(config, queue).run(sockets=[listener])
    except Interrupted as error:
        if queue.running:  # nobody waits for it any more, but its thread would keep the process
            print(f"segnet: {error}, a prediction was under way", file=sys.stderr, flush=True)
            os._exit(error.exit_code)
        raise


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, queue: JobQueue) -> None:
        super().__init__(config)
        self._queue = queue

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig == signal.SIGINT and self.should_exit:
            os.write(2, b"segnet: quit\n")
            os._exit(128 + sig)
        if sig == signal.SIGINT and self._queue.num_taken:
            os.write(2, b"\nsegnet: answering what is under way; Ctrl-C again quits at once\n")
        super().handle_exit(sig, frame)
