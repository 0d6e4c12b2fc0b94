"""One run per folder: real processes, and folders that are deleted or cannot be created."""

import fcntl
import multiprocessing
import os
import random
import shutil
import time

import pytest

from segnet.errors import ConfigError, MachineError, SegnetError
from segnet.training.run_lock import LOCK, in_use, locked


def test_a_second_run_in_the_same_folder_is_refused_with_the_holder(tmp_path, held):
    process = held(tmp_path)
    assert in_use(tmp_path)
    with pytest.raises(ConfigError, match=f"another run uses this folder .process {process} on "), locked(tmp_path):
        pass


def test_a_second_run_of_the_same_process_is_refused(tmp_path):
    """POSIX locks do not exclude their own process, and closing any of its files releases them."""
    with locked(tmp_path):
        assert in_use(tmp_path)
        with pytest.raises(ConfigError, match=r"another run uses this folder .* this one"), locked(tmp_path):
            pass
        reader, writer = os.pipe()
        if os.fork() == 0:
            os.write(writer, b"1" if in_use(tmp_path) else b"0")
            os._exit(0)
        assert os.read(reader, 1) == b"1"
        os.wait()


def test_a_killed_run_releases_its_lock(tmp_path, held):
    process = held(tmp_path)
    os.kill(process, 9)
    while in_use(tmp_path):
        pass
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
    assert not list(tmp_path.iterdir())


def test_in_use_neither_creates_nor_deletes_nor_locks(tmp_path):
    assert not in_use(tmp_path)
    assert not in_use(tmp_path / "missing")
    assert not list(tmp_path.iterdir())
    (tmp_path / LOCK).write_text("process 1 on nowhere\n")  # left behind by a killed run
    before = (tmp_path / LOCK).stat()
    assert not in_use(tmp_path)
    assert (tmp_path / LOCK).stat() == before


def test_a_lock_on_a_deleted_file_is_retried(tmp_path, monkeypatch):
    """The holder deletes the file after a second process opens it and before that process locks it."""
    original, deleted = fcntl.lockf, []

    def lockf(file, operation):
        if not deleted:
            deleted.append(os.fstat(file.fileno()).st_ino)
            os.replace(tmp_path / LOCK, tmp_path / "elsewhere")  # prevents reuse of its inode
        original(file, operation)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with locked(tmp_path):
        assert (tmp_path / LOCK).stat().st_ino != deleted[0]


def test_a_recreated_folder_keeps_the_lock_of_its_new_run(tmp_path):
    folder = tmp_path / "run"
    with locked(folder):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / LOCK).write_text("of another run")
    assert (folder / LOCK).read_text() == "of another run"


def test_a_run_starts_on_a_file_system_without_locks(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", none)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["a file", "a file/run", "/proc/run"])
def test_a_run_folder_that_cannot_be_created_is_a_one_line_error(name, tmp_path):
    (tmp_path / "a file").touch()
    with (
        pytest.raises(
            MachineError, match=r"the run folder cannot be written to \(.+\): choose another hydra"
        ) as caught,
        locked(tmp_path / name),
    ):
        pass
    assert caught.value.exit_code == 5


def _enter_again_and_again(folder, seed, inside, together, entered):
    rng = random.Random(seed)
    while entered.value < 300:
        in_use(folder)
        try:
            with locked(folder):
                with inside.get_lock():
                    inside.value += 1
                    together.value += inside.value > 1
                    entered.value += 1
                time.sleep(rng.random() * 0.001)
                with inside.get_lock():
                    inside.value -= 1
        except SegnetError:
            time.sleep(rng.random() * 0.001)


def test_concurrent_processes_lock_the_folder_one_at_a_time(tmp_path):
    fork = multiprocessing.get_context("fork")
    counts = [fork.Value("i", 0) for _ in range(3)]
    processes = [
        fork.Process(target=_enter_again_and_again, args=(tmp_path, seed, *counts), daemon=True) for seed in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    _, together, entered = (count.value for count in counts)
    assert [process.exitcode for process in processes] == [0] * 6
    assert together == 0
    assert entered >= 300
