"""A bounded queue of predictions: one runs at a time, a fixed number waits, others are refused."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


class QueueFullError(Exception):
    """No place is free.

    Attributes:
        retry_after: when one may be [seconds], 1 or more, by how long jobs have taken.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"no place is free, try again in {retry_after} s")
        self.retry_after = retry_after


class JobQueue:
    """Run jobs one after another in a thread: a single prediction takes all cores, or the GPU.

    A place is taken for images that have arrived: one that never does keeps nobody out.

    Args:
        waiting: how many may wait beside the one that runs.
    """

    def __init__(self, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="segnet-predict")
        self._lock = threading.Lock()
        self._num_places = waiting + 1
        self._num_taken = 0
        self._num_running = 0
        self._seconds = 1.0  # that a job takes, a moving average

    @property
    def num_taken(self) -> int:
        """Places in use: by the job that runs and those that wait."""
        return self._num_taken

    @property
    def running(self) -> bool:
        """Whether a job is at work, though perhaps nobody waits for it any more."""
        return self._num_running > 0

    def require_place(self) -> None:
        """Refuse early what could not be queued now.

        Raises:
            QueueFullError: no place is free.
        """
        with self._lock:
            self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self._num_taken >= self._num_places:
            raise QueueFullError(max(1, math.ceil(self._seconds * self._num_taken)))

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place for as long as the context lasts.

        Raises:
            QueueFullError: none is free.
        """
        with self._lock:
            self._refuse_if_full()
            self._num_taken += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_taken -= 1

    def submit(self, work: Callable[[], bytes], end: Callable[[], None]) -> Future[bytes]:
        """Queue a job.

        Args:
            work: called in the thread.
            end: called once the job is over, or was cancelled before it began: gives its place back.
        """
        future = self._executor.submit(self._timed, work)
        future.add_done_callback(lambda _: end())
        return future

    def _timed(self, work: Callable[[], bytes]) -> bytes:
        self._num_running += 1
        started = time.monotonic()
        try:
            return work()
        finally:
            self._num_running -= 1
            self._seconds += 0.2 * (time.monotonic() - started - self._seconds)
