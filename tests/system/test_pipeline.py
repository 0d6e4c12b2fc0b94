"""Overlapped reading, computing and writing: ordered, within the memory limit, without lost errors of threads."""

import threading
import time

import pytest

from segnet.errors import DataError, MachineError
from segnet.system.pipeline import Done, Steps, overlapped


class Recorder:
    """Steps that record the weight in work, the batches and the reports."""

    def __init__(self, weights=None):
        self.lock, self.stopped = threading.Lock(), threading.Event()
        self.weights = weights or {}
        self.in_work = self.most = 0.0
        self.batches, self.reports, self.written = [], [], []

    def weigh(self, item):
        return self.weights.get(item, 1)

    def read(self, item):
        with self.lock:
            self.in_work += self.weigh(item)
            self.most = max(self.most, self.in_work)
        if item % 3 == 0:
            time.sleep(0.002)  # later items overtake it
        return item

    def compute(self, batch):
        self.batches.append(batch)
        return [item * 10 for item in batch]

    def write(self, item, loaded, result):
        with self.lock:
            self.in_work -= self.weigh(item)
            self.written.append(item)
        return result

    def report(self, item, report):
        self.reports.append((item, report))

    def run(self, items, batch_size=1, limit=10, key=lambda loaded: 0, **options):
        steps = Steps(self.weigh, self.read, key, self.compute, self.write, self.report)
        overlapped(items, steps, batch_size, limit, self.stopped, **options)


@pytest.mark.parametrize("batch_size", [1, 3, 50])
@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_all_items_are_done_in_order_within_the_limit(batch_size, limit):
    recorder = Recorder()
    recorder.run(range(40), batch_size, limit)
    assert recorder.reports == [(item, 10 * item) for item in range(40)]
    assert recorder.most <= limit
    assert max(map(len, recorder.batches)) <= batch_size
    assert recorder.stopped.is_set()


def test_an_item_above_the_limit_is_processed_alone():
    recorder = Recorder({5: 100})
    recorder.run(range(10), 4, limit=8)
    assert recorder.most == 100
    assert len(recorder.reports) == 10


def test_batches_contain_items_of_one_key():
    recorder = Recorder()
    recorder.run([0, 2, 1, 3, 5, 4], 3, key=lambda loaded: loaded % 2)
    assert recorder.batches == [[0, 2], [1, 3, 5], [4]]


def test_a_single_writer_writes_in_order():
    recorder = Recorder()
    recorder.run(range(30), 4, writers=1)
    assert recorder.written == list(range(30))


def test_errors_and_finished_items_are_reported_in_order():
    recorder = Recorder()
    read = recorder.read

    def reading(item):
        if item == 3:
            raise DataError("three")
        if item == 4:
            raise Done("done")
        return read(item)

    recorder.read = reading
    recorder.run(range(8), 2)
    reports = [str(report) for _, report in recorder.reports]
    assert reports == ["0", "10", "20", "three", "done", "50", "60", "70"]


@pytest.mark.parametrize("step", ["read", "write", "weigh", "compute", "report"])
@pytest.mark.parametrize("error", [IndexError, MachineError])
def test_an_error_of_any_step_ends_the_run(step, error):
    recorder = Recorder()
    original = getattr(recorder, step)

    def fail(*arguments):
        if arguments[0] in (3, [3]):
            raise error("a fault")
        return original(*arguments)

    setattr(recorder, step, fail)
    with pytest.raises(error, match="a fault"):
        recorder.run(range(1000), limit=4)
    assert len(recorder.reports) <= 4
    assert recorder.stopped.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("read", "write", "feed"))]


def test_an_error_of_the_iterator_is_raised_after_earlier_items():
    recorder = Recorder()

    def items():
        yield from range(5)
        raise DataError("cut off")

    with pytest.raises(DataError, match="cut off"):
        recorder.run(items(), 2)
    assert len(recorder.reports) == 5


def test_no_items_is_not_an_error():
    recorder = Recorder()
    recorder.run([])
    assert recorder.reports == []
