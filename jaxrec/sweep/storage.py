"""Study storage: a crash-safe journal file, or a database; for those on a server, see `servers`.

Locks are operating-system locks (`flock`) instead of the lock files of Optuna's journal: the system releases a lock as
soon as its holder dies, so a killed process never blocks the next one and a slow process never loses its lock.

The package filelock is not used because it polls, while `flock` queues. With six processes on two cores that each hold
the lock for a millisecond, the longest wait is 35 ms here and 680 ms with filelock (230 ms if it polls every 5 ms). An
uncontended lock takes 0.06 ms here and 1 ms with filelock, for every journal record. On a file system without `flock`,
filelock also silently falls back to a lock file that outlives its process.
"""

import json
import logging
import os
import sys
from pathlib import Path
from types import TracebackType

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from sqlalchemy import URL, create_engine, inspect, make_url
from sqlalchemy.exc import SQLAlchemyError

from jaxrec.errors import InputError, first_line
from jaxrec.sweep.servers import address_of, cannot_open, is_server, open_server, read_server, without_password

SWEEPS = Path("outputs/sweeps")  # default directory of searches and grids

log = logging.getLogger(__name__)


class FileLock:
    """Operating-system lock on a file, released when its process ends; the file itself is kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Block until the lock is acquired; or return whether it could be acquired at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT)
            is_acquired = False
            try:
                is_acquired = _lock(file, wait)
            finally:
                if not is_acquired:
                    os.close(file)
            if not is_acquired:
                return False
            if _is_at(file, self.path):
                self._file = file
                return True
            os.close(file)  # another process had locked it, and removed it before this one could lock it

    def release(self) -> None:
        """Release the lock; no effect if it is not held."""
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


def _is_at(file: int, path: Path) -> bool:
    """Return whether an open file is the one at this path, not one that was removed."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def is_held(path: Path) -> bool:
    """Return whether a running process holds the lock of this file; reading it is enough."""
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _lock(file, wait=False, shared=True)
    finally:
        os.close(file)


if sys.platform == "win32":
    import msvcrt
    import time

    def _lock(file: int, wait: bool, shared: bool = False) -> bool:
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

    def _lock(file: int, wait: bool, shared: bool = False) -> bool:
        """Lock a file; shared locks, which several processes can hold at once, only conflict with others."""
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True


def open_storage(url: str | None, directory: Path) -> BaseStorage:
    """Open the storage of a sweep.

    Args:
        url: None for `journal.log` in `directory`; a path ending in .log for another journal; or a URL:
            `sqlite:///sweeps.db`, `postgresql+psycopg://user@host/name`, `mysql+pymysql://user@host/name`, or
            `grpc://host:port` of Optuna's proxy.
        directory: the sweep directory.
    """
    if url is None or url.endswith(".log"):
        # Absolute, so that a later change of the working directory does not split the journal in two.
        return _open_journal(directory.absolute() / "journal.log" if url is None else Path(url).absolute())
    _check_url(url)
    if is_server(url):
        return open_server(url)
    # SQLite serializes writers, so they need a long timeout.
    options = {"connect_args": {"timeout": 60}}
    # Two processes creating the tables of one SQLite file at the same time would crash.
    with FileLock(_beside(url, directory)):
        try:
            return RDBStorage(url, options)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise cannot_open(url, error) from error


def read_storage(url: str) -> BaseStorage:
    """Open an existing storage read-only; nothing is created or changed."""
    if url.endswith(".log"):
        if not Path(url).is_file():
            raise InputError(f"storage={url}: the file does not exist")
        return read_journal(Path(url))
    _check_url(url)
    address = make_url(url) if not is_server(url) else None
    if address is not None:
        if not address.database or not Path(address.database).is_file():
            raise InputError(f"storage={url}: the file does not exist")
        read_only = {"mode": "ro", "uri": "true"}
        address = address.set(database=Path(address.database).absolute().as_uri(), query=read_only)
    if not url.startswith("grpc://"):
        _check_tables(url, address or address_of(url))
    if address is None:
        return read_server(url)
    return RDBStorage(address.render_as_string(hide_password=False), skip_table_creation=True)


def _check_tables(url: str, address: URL) -> None:
    """Raise an InputError if a database has no table of studies."""
    try:
        engine = create_engine(address)
        holds_studies = inspect(engine).has_table("studies")
        engine.dispose()
    except (ImportError, SQLAlchemyError) as error:
        raise cannot_open(url, error) from None
    if not holds_studies:
        raise InputError(f"storage={without_password(url)} holds no studies")


def _beside(url: str, directory: Path) -> Path:
    """Return the lock of a SQLite file, beside it; else in the sweep directory."""
    file = make_url(url).database
    if not file or file == ":memory:" or not Path(file).absolute().parent.is_dir():
        return directory / "ask.lock"
    return Path(f"{Path(file).absolute()}.lock")


def _check_url(url: str) -> None:
    if "://" not in url:
        raise InputError(
            f"sweep.storage={url} is neither a journal file (PATH.log), a database (sqlite:///FILE, "
            "postgresql+psycopg://USER@HOST/NAME, mysql+pymysql://USER@HOST/NAME) nor a proxy (grpc://HOST:PORT)"
        )


def read_journal(path: Path) -> JournalStorage:
    """Open a journal for reading; it is not repaired, and a truncated last line is ignored."""
    _sound_length(path)
    return _replayed(path, JournalFileBackend(str(path)))


def _replayed(path: Path, backend: JournalFileBackend) -> JournalStorage:
    """Return the storage of a journal; one whose records are not those of Optuna is an InputError."""
    try:
        storage = JournalStorage(backend)
        for study in storage.get_all_studies():
            n_values = {len(study.directions)}
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
            n_values |= {len(trial.values) for trial in trials if trial.values is not None}
            if not isinstance(study.study_name, str) or n_values != {len(study.directions) or 1}:
                raise ValueError("trials have other objectives than their study")
            attributes = [study.user_attrs, study.system_attrs]
            attributes += [each for trial in trials for each in (trial.user_attrs, trial.system_attrs)]
            if not all(isinstance(each, dict) for each in attributes):
                raise ValueError("attributes are no mappings")
            if not all(isinstance(value, int | float) for trial in trials for value in trial.values or ()):
                raise ValueError("values are no numbers")
    except OSError:
        raise
    except Exception as error:  # of any kind: records are used as they are
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(
            f"{path} is damaged or of another version of Optuna ({reason}): restore it, or set another sweep.study_name"
        ) from error
    return storage


def _open_journal(path: Path) -> JournalStorage:
    lock = _JournalLock(path)
    lock.acquire()
    try:
        if path.exists():
            _cut(path, _sound_length(path))
    finally:
        lock.release()
    return _replayed(path, JournalFileBackend(str(path), lock_obj=lock))


class _JournalLock(JournalFileOpenLock):
    """Optuna journal lock backed by `FileLock`.

    Its file is not `journal.log.lock`, because Optuna's own lock treats any file of that name as a held lock.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = FileLock(journal.with_name(journal.name + ".flock"))

    def acquire(self) -> bool:
        self._lock.acquire()
        # Another process may have died while writing since the journal was opened. Appending to its partial line
        # would corrupt our record too and leave a broken line in the middle.
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
    """Return the number of bytes before a broken last line; an earlier broken line is an error."""
    length, broken = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if broken:
                raise InputError(
                    f"{path}: line {broken} is not a journal record. A killed process can only break the last line, "
                    "so another program changed the file: restore it, or set another sweep.study_name"
                )
            if not line.endswith(b"\n"):
                break  # last line at read time, even if its writer is still finishing it
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
    """Move the bytes after `length` into a file next to the journal; the caller holds the lock."""
    with path.open("r+b") as file:
        file.seek(length)
        if not (tail := file.read()):
            return
        n = 1
        while (backup := path.with_name(f"{path.name}.broken-{n}")).exists():
            n += 1
        backup.write_bytes(tail)
        file.truncate(length)
        os.fsync(file.fileno())
    log.warning("%s ends in a partial line of a killed process: moved %d bytes to %s", path, len(tail), backup)
