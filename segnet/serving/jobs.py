"""A bounded queue of predictions: one runs at a time, a fixed number waits, further ones are refused."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


class QueueFullError(Exception):
    """The queue is full.

    Attributes:
        retry_after: expected time until a place is free, from the duration of earlier jobs [seconds], 1 or more.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"no place is free, try again in {retry_after} s")
        self.retry_after = retry_after


class JobQueue:
    """Runs jobs one after another in a thread: a single prediction uses all cores or the GPU.

    A place is taken only after an image has arrived: stalled uploads cannot block others.

    Args:
        waiting: most waiting jobs, besides the running one.
    """

    def __init__(self, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="segnet-predict")
        self._lock = threading.Lock()
        self._num_places = waiting + 1
        self._num_taken = 0
        self._num_running = 0
        self._seconds = 1.0  # duration of a job, moving average

    @property
    def num_taken(self) -> int:
        """Places in use by running and waiting jobs."""
        return self._num_taken

    @property
    def running(self) -> bool:
        """Whether a job is running, even if its client has disconnected."""
        return self._num_running > 0

    def require_place(self) -> None:
        """Check early that a place is free.

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
        """Hold a place inside the context.

        Raises:
            QueueFullError: no place is free.
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
            end: called when the job has finished or was cancelled; releases its place.
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
