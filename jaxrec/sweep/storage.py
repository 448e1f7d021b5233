"""Where studies live: a journal file that survives a killed process, or a database.

Locks here are the operating system's (`flock`), not the link files of Optuna's journal: the system lets go of a lock
the moment its holder dies, so that a killed process never delays the next and a slow one never has its lock broken.

By hand and not by the package filelock, which asks again and again where `flock` waits in line. Six processes on two
cores that take turns for a millisecond each: the longest wait is 35 ms here, 680 ms with filelock (230 ms if it asks
every 5 ms). A free lock takes 0.06 ms here and 1 ms there, for every record of a journal. On a file system without
`flock` it also changes to a lock file by itself, which outlives its process.
"""

import json
import logging
import os
import re
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from sqlalchemy import create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from jaxrec.errors import InputError

SWEEPS = Path("outputs/sweeps")  # where searches and grids go unless told otherwise

log = logging.getLogger(__name__)


class FileLock:
    """A lock of the operating system on a file, free as soon as its process ends; the file stays behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self) -> None:
        """Waits until the lock is ours."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT)
        try:
            _lock(file, wait=True)
        except BaseException:
            os.close(file)
            raise
        self._file = file

    def release(self) -> None:
        """Lets go; nothing where the lock is not ours."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "FileLock":
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of this file."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(file, wait=False)
    finally:
        os.close(file)


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(file: int, wait: bool) -> bool:
        while True:
            try:
                os.lseek(file, 0, os.SEEK_SET)
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                return True
            except OSError:
                if not wait:
                    return False
                time.sleep(0.05)
else:
    import fcntl

    def _lock(file: int, wait: bool) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def open_storage(url: str | None, directory: Path) -> BaseStorage:
    """Opens the storage of a sweep.

    Args:
        url: None for `journal.log` in `directory`; a path ending in .log for a journal elsewhere; or a database, such
            as `sqlite:///sweeps.db` or `postgresql+psycopg://user@host/name`.
        directory: the sweep directory.
    """
    if url is None or url.endswith(".log"):
        # Absolute, so that a later change of the working directory does not split the journal in two.
        return _open_journal(directory.absolute() / "journal.log" if url is None else Path(url).absolute())
    _check_url(url)
    # SQLite makes its writers wait for one another; give them the time.
    options = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    # Two processes that create the tables of one SQLite file at once would crash.
    with FileLock(directory / "ask.lock"):
        return _database(url, engine_kwargs=options)


def read_storage(url: str) -> BaseStorage:
    """Opens an existing storage for reading: nothing is created or changed."""
    if url.endswith(".log"):
        if not Path(url).is_file():
            raise InputError(f"storage={url}: there is no such file")
        return read_journal(Path(url))
    _check_url(url)
    try:
        address = make_url(url)
        if address.get_backend_name() == "sqlite":
            if not address.database or not Path(address.database).is_file():
                raise InputError(f"storage={url}: there is no such file")
            read_only = {"mode": "ro", "uri": "true"}
            address = address.set(database=Path(address.database).absolute().as_uri(), query=read_only)
        engine = create_engine(address)
        holds_studies = inspect(engine).has_table("studies")
        engine.dispose()
    except (ImportError, SQLAlchemyError) as error:
        raise _cannot_open(url, error) from error
    if not holds_studies:
        raise InputError(f"storage={without_password(url)} holds no studies")
    return _database(address.render_as_string(hide_password=False), skip_table_creation=True)


def _database(url: str, **options: Any) -> BaseStorage:
    try:
        return RDBStorage(url, **options)
    except (ImportError, SQLAlchemyError, StorageInternalError) as error:
        raise _cannot_open(url, error) from error


def _cannot_open(url: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0]
    return InputError(f"cannot open the storage {without_password(url)}: {type(error).__name__}: {reason}")


def without_password(url: str) -> str:
    """The address of a database as it may be shown."""
    return re.sub(r"//[^@/]*@", "//...@", url)


def _check_url(url: str) -> None:
    if "://" not in url:
        raise InputError(
            f"sweep.storage={url} is neither a journal file (PATH.log) nor a database (sqlite:///FILE, "
            "postgresql+psycopg://USER@HOST/NAME)"
        )


def read_journal(path: Path) -> JournalStorage:
    """A journal for reading: nothing is mended, and a broken last line is left out."""
    _sound_length(path)
    return JournalStorage(JournalFileBackend(str(path)))


def _open_journal(path: Path) -> JournalStorage:
    lock = _JournalLock(path)
    lock.acquire()
    try:
        if path.exists():
            _cut(path, _sound_length(path))
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


class _JournalLock(JournalFileOpenLock):
    """Optuna's journal lock with ours in its place.

    Its file is not `journal.log.lock`, for Optuna's own lock takes any file of that name for a lock that is held.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(journal.with_name(journal.name + ".flock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        # Another process may have died while writing since the journal was opened. Appending to its half line would
        # break ours too, and put a broken line into the middle.
        if self._journal.exists() and not _ends_with_newline(self._journal):
            _cut(self._journal, self._journal.read_bytes().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        self._lock.release()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _sound_length(path: Path) -> int:
    """The bytes up to a broken last line; a broken line before the last is an error."""
    length, broken = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if broken:
                raise InputError(
                    f"{path}: line {broken} is not a journal record. A process that is killed can only break the last "
                    f"line, so the file was changed by something else: restore it, or choose another sweep.study_name"
                )
            if not line.endswith(b"\n"):
                break  # the last as we read, even if its writer is alive and finishes it now
            if _is_record(line):
                length += len(line)
            else:
                broken = number
    return length


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record


def _cut(path: Path, length: int) -> None:
    """Moves what lies beyond `length` into a file beside the journal; the caller holds the lock."""
    with path.open("r+b") as file:
        file.seek(length)
        if not (tail := file.read()):
            return
        n = 1
        while (aside := path.with_name(f"{path.name}.broken-{n}")).exists():
            n += 1
        aside.write_bytes(tail)
        file.truncate(length)
        os.fsync(file.fileno())
    log.warning("%s ended in a half written line of a killed process: moved %d bytes to %s", path, len(tail), aside)
