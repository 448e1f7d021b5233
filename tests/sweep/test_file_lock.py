"""A lock excludes other processes as long as its process lives."""

import signal
import subprocess
import sys
import time

import pytest

from jaxrec.sweep import file_lock
from jaxrec.sweep.file_lock import FileLock, is_held

HOLD = """
import sys, time, pathlib
from jaxrec.sweep.file_lock import FileLock
FileLock(pathlib.Path(sys.argv[1])).acquire()
print('held', flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free_and_that_of_a_running_one_is_not(tmp_path):
    path = tmp_path / "journal.log.flock"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert is_held(path)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert not is_held(path)
    started = time.monotonic()
    with FileLock(path):
        assert time.monotonic() - started < 5


def test_a_lock_excludes_within_a_process_too(tmp_path):
    with FileLock(tmp_path / "a.lock"):
        assert is_held(tmp_path / "a.lock")
    assert not is_held(tmp_path / "a.lock")
    assert not is_held(tmp_path / "never.lock")
    assert not (tmp_path / "never.lock").exists()


def test_testing_a_lock_does_not_acquire_it(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "a.lock"
    path.touch()
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert not is_held(path)
    with FileLock(path):
        assert is_held(path)
    assert not is_held(path)


def test_a_lock_file_that_is_removed_while_it_is_acquired_is_not_the_lock(tmp_path, monkeypatch):
    path, lock_file, calls = tmp_path / "a.lock", file_lock._lock, []

    def remove_first(file, wait, shared=False):
        is_acquired = lock_file(file, wait, shared)
        if not calls:
            path.unlink()  # as the holder may, after this process opens and before it locks the file
        calls.append(file)
        return is_acquired

    monkeypatch.setattr(file_lock, "_lock", remove_first)
    one, other = FileLock(path), FileLock(path)
    assert one.acquire(wait=False)
    assert not other.acquire(wait=False)
    one.release()
    assert other.acquire(wait=False)
    other.release()
