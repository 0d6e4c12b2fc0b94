"""Overlap reading, computing and writing with bounded memory: threads read and write, the caller's thread computes."""

import queue
import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from segnet.errors import Interrupted, MachineError, SegnetError

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Result = TypeVar("Result")


class Done(Exception):
    """Raised by `Steps.read` if an item needs no work.

    Args:
        report: report for the item.
    """

    def __init__(self, report: Any) -> None:
        super().__init__()
        self.report = report


@dataclass(frozen=True)
class Steps(Generic[Item, Loaded, Result]):
    """The work on each item.

    Attributes:
        weigh: returns the memory for an item, in the unit of the limit; called sequentially.
        read: returns the input of the computation; raises `Done` or a SegnetError.
        key: items with equal keys may share a batch.
        compute: returns a result for each input of a batch; called by the caller's thread.
        write: takes item, input and result, and returns a report.
        report: takes an item and its report or error; called by the caller's thread, in the order of the items.
    """

    weigh: Callable[[Item], float]
    read: Callable[[Item], Loaded]
    key: Callable[[Loaded], Hashable]
    compute: Callable[[list[Loaded]], list[Result]]
    write: Callable[[Item, Loaded, Result], Any]
    report: Callable[[Item, Any], None]


def overlapped(
    items: Iterable[Item],
    steps: Steps[Item, Loaded, Result],
    batch_size: int,
    limit: float,
    stopped: threading.Event,
    readers: int = 2,
    writers: int = 2,
) -> None:
    """Read, compute and write all items.

    Args:
        items: iterated by a thread, as far ahead as the limit allows.
        steps: the work on each item.
        batch_size: largest batch.
        limit: limit for the total weight of items in progress; a heavier item is processed alone.
        stopped: set at the end, for waiting threads.
        readers: number of reader threads.
        writers: number of writer threads; a single one writes in the order of the items.

    Raises:
        MachineError: raised by a step. Errors other than SegnetError are raised too.
    """
    run = _Run(steps, batch_size, limit, readers, writers)
    feeder = threading.Thread(target=run.feed, args=(items,), name="feed", daemon=True)
    try:
        feeder.start()
        run.compute_all()
    finally:
        stopped.set()
        run.end()
        feeder.join()


_END = EOFError()


class _Run(Generic[Item, Loaded, Result]):
    def __init__(
        self, steps: Steps[Item, Loaded, Result], batch_size: int, limit: float, readers: int, writers: int
    ) -> None:
        self._steps, self._batch_size, self._limit = steps, batch_size, limit
        self._reading = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._writing = ThreadPoolExecutor(writers, thread_name_prefix="write")
        self._queue: queue.SimpleQueue[tuple[Item, float, Future[Loaded]] | BaseException | None] = queue.SimpleQueue()
        self._batch: list[tuple[list[Any], float, Loaded]] = []
        self._slots: deque[list[Any]] = deque()  # [item, future of its report], in the order of the items
        self._released = threading.Condition()
        self._weight = 0.0  # of all items in progress
        self._ended = False

    def feed(self, items: Iterable[Item]) -> None:
        """Read ahead as far as the limit allows; runs in a separate thread."""
        end: BaseException = _END
        try:
            for item in items:
                weight = self._steps.weigh(item)
                with self._released:
                    if not self._fits(weight):
                        self._queue.put(None)  # compute an incomplete batch, which may hold the memory
                        self._released.wait_for(lambda: self._ended or self._fits(weight))  # noqa: B023
                    if self._ended:
                        return
                    self._weight += weight
                self._queue.put((item, weight, self._reading.submit(self._steps.read, item)))
        except BaseException as error:  # raised by the caller's thread
            end = error
        self._queue.put(end)

    def _fits(self, weight: float) -> bool:
        return self._weight == 0 or self._weight + weight <= self._limit

    def _release(self, weight: float) -> None:
        with self._released:
            self._weight -= weight
            self._released.notify_all()

    def compute_all(self) -> None:
        """Compute until the items end."""
        while not isinstance(entry := self._queue.get(), BaseException):
            if entry is None:
                self._compute()
            else:
                self._take(*entry)
            self._report(wait=False)
        self._compute()
        self._report(wait=True)
        if entry is not _END:
            raise entry

    def _take(self, item: Item, weight: float, reading: Future[Loaded]) -> None:
        slot: list[Any] = [item, None]
        self._slots.append(slot)
        try:
            loaded = reading.result()
        except Interrupted:  # a signal during the wait
            raise
        except (Done, SegnetError):
            slot[1] = reading
            self._release(weight)
            return
        if self._batch and self._steps.key(loaded) != self._steps.key(self._batch[0][2]):
            self._compute()
        self._batch.append((slot, weight, loaded))
        if len(self._batch) >= self._batch_size:
            self._compute()

    def _compute(self) -> None:
        batch, self._batch = self._batch, []
        results = self._steps.compute([loaded for _, _, loaded in batch]) if batch else []
        for (slot, weight, loaded), result in zip(batch, results, strict=True):
            slot[1] = self._writing.submit(self._write, slot[0], weight, loaded, result)

    def _write(self, item: Item, weight: float, loaded: Loaded, result: Result) -> Any:
        try:
            return self._steps.write(item, loaded, result)
        finally:
            self._release(weight)

    def _report(self, wait: bool) -> None:
        while self._slots and (future := self._slots[0][1]) is not None and (wait or future.done()):
            try:
                report = future.result()
            except Done as done:
                report = done.report
            except (MachineError, Interrupted):  # it affects the next items too
                raise
            except SegnetError as error:
                report = error
            self._steps.report(self._slots.popleft()[0], report)

    def end(self) -> None:
        """Finish running reads and writes, and start no others."""
        with self._released:
            self._ended = True
            self._released.notify_all()
        self._reading.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)
