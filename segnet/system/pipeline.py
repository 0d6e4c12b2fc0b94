"""Reading, computing and writing at the same time: threads read and write, the caller's computes; memory is bounded."""

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


class Budget:
    """What all items in work may weigh together; a single one that weighs more is let through alone."""

    def __init__(self, limit: float) -> None:
        self._limit, self._used, self._closed = limit, 0.0, False
        self._changed = threading.Condition()

    def acquire(self, weight: float, wait: bool = True) -> bool:
        """Takes a share; whether it was had."""
        with self._changed:
            while not self._closed and self._used > 0 and self._used + weight > self._limit:
                if not wait:
                    return False
                self._changed.wait()
            if not self._closed:
                self._used += weight
            return not self._closed

    def release(self, weight: float) -> None:
        """Gives a share back."""
        with self._changed:
            self._used -= weight
            self._changed.notify_all()

    def close(self) -> None:
        """Lets whoever waits go, empty-handed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Done(Exception):
    """Raised by what reads: of this item nothing is left to do.

    Args:
        report: on it.
    """

    def __init__(self, report: Any) -> None:
        super().__init__()
        self.report = report


@dataclass(frozen=True)
class Steps(Generic[Item, Loaded, Result]):
    """What is done with each item.

    Attributes:
        weigh: how much memory it will need, in the unit of the budget; called for one after the other.
        read: gives what is computed on; raises `Done` or a SegnetError.
        key: items whose key is equal are computed together.
        compute: a result for each of a batch; called by the caller's thread.
        write: takes item, loaded and result, and gives a report.
        report: takes an item and its report or error; called by the caller's thread, in the items' order.
    """

    weigh: Callable[[Item], float]
    read: Callable[[Item], Loaded]
    key: Callable[[Loaded], Hashable]
    compute: Callable[[list[Loaded]], list[Result]]
    write: Callable[[Item, Loaded, Result], Any]
    report: Callable[[Item, Any], None]


class _Run(Generic[Item, Loaded, Result]):
    def __init__(self, steps: Steps[Item, Loaded, Result], batch_size: int, budget: Budget, threads: tuple[int, int]):
        self._steps, self._batch_size, self._budget = steps, batch_size, budget
        self._reading = ThreadPoolExecutor(threads[0], thread_name_prefix="read")
        self._writing = ThreadPoolExecutor(threads[1], thread_name_prefix="write")
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._batch: list[tuple[list[Any], float, Loaded]] = []
        self._slots: deque[list[Any]] = deque()  # [item, future of its report], in the items' order

    def feed(self, items: Iterable[Item]) -> None:
        """Reads ahead as far as the budget allows; of a thread of its own."""
        try:
            for item in items:
                weight = self._steps.weigh(item)
                if not self._budget.acquire(weight, wait=False):
                    self._queue.put("full")  # what waits for a batch to fill must not keep what is needed to fill it
                    if not self._budget.acquire(weight):
                        return
                self._queue.put((item, weight, self._reading.submit(self._steps.read, item)))
            self._queue.put("end")
        except BaseException as error:  # raised again where it is seen
            self._queue.put(error)

    def go(self) -> None:
        """Computes until all is done."""
        while (entry := self._queue.get()) != "end":
            if isinstance(entry, BaseException):
                self._compute()
                self._report(wait=True)
                raise entry
            if entry == "full":
                self._compute()
            else:
                self._take(*entry)
            self._report(wait=False)
        self._compute()
        self._report(wait=True)

    def _take(self, item: Item, weight: float, reading: Future[Loaded]) -> None:
        slot: list[Any] = [item, None]
        self._slots.append(slot)
        try:
            loaded = reading.result()
        except Interrupted:  # of this thread: a signal came while it waited
            raise
        except (Done, SegnetError) as end:
            slot[1] = _finished(end)
            self._budget.release(weight)
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
            self._budget.release(weight)

    def _report(self, wait: bool) -> None:
        while self._slots and (future := self._slots[0][1]) is not None and (wait or future.done()):
            try:
                report = future.result()
            except Done as done:
                report = done.report
            except (MachineError, Interrupted):  # the next one would meet it too
                raise
            except SegnetError as error:
                report = error
            self._steps.report(self._slots.popleft()[0], report)

    def end(self) -> None:
        """Lets what is being read or written come to its end, and begins nothing else."""
        self._budget.close()
        self._reading.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)


def _finished(error: BaseException) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


def overlapped(
    items: Iterable[Item],
    steps: Steps[Item, Loaded, Result],
    batch_size: int,
    limit: float,
    stopped: threading.Event,
    readers: int = 2,
    writers: int = 2,
) -> None:
    """Reads, computes and writes all items.

    Args:
        items: asked for by a thread, as far ahead as the limit allows.
        steps: what is done with each.
        batch_size: the most that are computed together.
        limit: of what all items in work weigh together.
        stopped: is set at the end, for threads that wait for something.
        readers, writers: threads; a single writer writes in the items' order.

    Raises:
        MachineError: of any step. What else is no SegnetError is raised as it is.
    """
    run = _Run(steps, batch_size, Budget(limit), (readers, writers))
    feeder = threading.Thread(target=run.feed, args=(items,), name="feed", daemon=True)
    try:
        feeder.start()
        run.go()
    finally:
        stopped.set()
        run.end()
        feeder.join()
