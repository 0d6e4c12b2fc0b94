"""Termination signals: SIGTERM, SIGUSR1 and SIGUSR2 (sent by schedulers), Ctrl-C.

A handler only records the signal. Training checks the record between two batches, when its state is consistent.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from segnet.errors import Interrupted

ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name))
WORKER_GRACE = 30  # lifetime of a worker after a SIGTERM to the whole process group [seconds]


class StopRequest:
    """Record of the first signal; a second Ctrl-C quits at once.

    Attributes:
        signum: the received signal, 0 if none.
    """

    def __init__(self) -> None:
        self.signum = 0

    def listen(self) -> None:
        """Install the handlers; Python allows this in the main thread only, elsewhere nothing happens."""
        if threading.current_thread() is threading.main_thread():
            for signum in ENDING:
                signal.signal(signum, self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum and signum == signal.SIGINT:
            os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, b"segnet: quit\n")
            os._exit(128 + signum)
        if not self.signum and signum == signal.SIGINT:
            os.write(2, b"\nsegnet: saving; press Ctrl-C again to quit at once\n")
        self.signum = self.signum or signum


def name_of(signum: int) -> str:
    """Name of a signal for messages: "SIGTERM" for 15, "Ctrl-C" for SIGINT."""
    return "Ctrl-C" if signum == signal.SIGINT else signal.Signals(signum).name


@contextlib.contextmanager
def ending_at_once(doing: str) -> Iterator[None]:
    """Raise an error on a signal anywhere inside the context: for work that can be repeated.

    Args:
        doing: end of the message, such as "during the evaluation".

    Raises:
        Interrupted: a signal was received.
    """

    received: list[Interrupted] = []

    def end(signum: int, frame: FrameType | None) -> None:
        received.append(Interrupted(signum, f"{name_of(signum)} {doing}"))
        raise received[-1]

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handlers_restored():
        for signum in ENDING:
            signal.signal(signum, end)
        try:
            yield
        except Exception:
            if received:  # a library caught it and raised another error
                raise received[0] from None
            raise
        if received:  # a destructor or a library swallowed it
            raise received[0]


@contextlib.contextmanager
def handlers_restored() -> Iterator[None]:
    """Restore the signal handlers at the end: a notebook needs its Ctrl-C after training."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.getsignal(signum) for signum in ENDING}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, signal.SIG_DFL if handler is None else handler)


def shield_worker() -> None:
    """Keep a data loader worker alive after a signal to the process group: the trainer still needs it.

    The trainer ends its workers. After a SIGTERM, they end after WORKER_GRACE seconds.
    """
    for signum in ENDING:
        if signum != signal.SIGTERM:
            signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(WORKER_GRACE))
