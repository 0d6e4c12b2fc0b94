import threading

import pytest

from segnet.serving.jobs import JobQueue, QueueFullError


def test_the_number_of_places_is_limited():
    queue = JobQueue(waiting=1)
    with queue.place(), queue.place():
        assert queue.num_taken == 2
        with pytest.raises(QueueFullError) as error, queue.place():
            pass
        assert error.value.retry_after >= 1
    assert queue.num_taken == 0
    with queue.place():
        pass


def test_a_place_is_released_after_an_error():
    queue = JobQueue(waiting=0)
    with pytest.raises(RuntimeError), queue.place():
        raise RuntimeError
    assert queue.num_taken == 0


def test_jobs_run_sequentially_in_order():
    queue, gate, done = JobQueue(waiting=8), threading.Event(), []
    first = queue.submit(lambda: gate.wait(60) and b"first", lambda: done.append("first"))
    rest = [queue.submit(lambda n=n: b"%d" % n, lambda n=n: done.append(n)) for n in range(5)]
    assert done == []
    gate.set()
    assert first.result(60) == b"first"
    assert [job.result(60) for job in rest] == [b"0", b"1", b"2", b"3", b"4"]
    assert done == ["first", 0, 1, 2, 3, 4]
    assert not queue.running


def test_a_cancelled_job_never_runs_and_releases_its_place():
    queue, gate, began, ended = JobQueue(waiting=8), threading.Event(), threading.Event(), []

    def hold():
        began.set()
        gate.wait(60)
        return b""

    running = queue.submit(hold, lambda: None)
    assert began.wait(60)
    assert queue.running
    waiting = queue.submit(lambda: ended.append("ran") or b"", lambda: ended.append("ended"))
    assert waiting.cancel()
    assert ended == ["ended"]
    assert not running.cancel()
    gate.set()
    running.result(60)
    assert queue.submit(lambda: b"x", lambda: None).result(60) == b"x"
    assert ended == ["ended"]


def test_a_failing_job_affects_only_its_caller():
    queue = JobQueue(waiting=8)

    def fail():
        raise KeyError("a bug")

    failing = queue.submit(fail, lambda: None)
    assert queue.submit(lambda: b"x", lambda: None).result(60) == b"x"
    with pytest.raises(KeyError):
        failing.result(60)
    assert not queue.running
