"""Study storage in a crash-safe journal file, which several processes can share."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock, JournalStorage
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation

from jaxrec.errors import InputError, first_line
from jaxrec.sweep.file_lock import FileLock

log = logging.getLogger(__name__)


class Journal(JournalStorage):
    """Journal that writes several attributes of a trial at once: a write waits some milliseconds for the disk."""

    def set_trial_user_attrs(self, trial_id: int, attributes: Mapping[str, object]) -> None:
        """Set attributes of a trial; a process that is killed meanwhile may leave the first ones."""
        with self._thread_lock:
            record = {
                "op_code": JournalOperation.SET_TRIAL_USER_ATTR,
                "worker_id": self._replay_result.worker_id,
                "trial_id": trial_id,
            }
            self._backend.append_logs([{**record, "user_attr": {name: value}} for name, value in attributes.items()])
            self._sync_with_backend()


class _Backend(JournalFileBackend):
    """File of a journal in which validations do not wait for the disk.

    Other processes see them at once. After a power loss the last ones may be missing, as if training had ended before.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if any(record["op_code"] != JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE for record in logs):
            super().append_logs(logs)
            return
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.writelines(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in logs)


def read_journal(path: Path) -> JournalStorage:
    """Open a journal for reading; it is not repaired, and a truncated last line is ignored."""
    _sound_length(path)
    return _replayed(path, JournalFileBackend(str(path)))


def _replayed(path: Path, backend: JournalFileBackend) -> JournalStorage:
    """Return the storage of a journal; one whose records are not those of Optuna is an InputError."""
    try:
        storage = Journal(backend)
        for study in storage.get_all_studies():
            n_values = {len(study.directions)}
            trials = storage.get_all_trials(study._study_id, deepcopy=False)
            n_values |= {len(trial.values) for trial in trials if trial.values is not None}
            if not isinstance(study.study_name, str) or n_values != {len(study.directions) or 1}:
                raise ValueError("trials have other objectives than their study")
            attributes = [study.user_attrs, study.system_attrs]
            attributes += [each for trial in trials for each in (trial.user_attrs, trial.system_attrs)]
            if not all(isinstance(each, dict) for each in attributes):
                raise ValueError("attributes are not mappings")
            if not all(isinstance(value, int | float) for trial in trials for value in trial.values or ()):
                raise ValueError("values are not numbers")
    except OSError:
        raise
    except Exception as error:  # of any kind: records are used as they are
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(
            f"{path} is damaged or of another version of Optuna ({reason}): restore it, or set another sweep.study_name"
        ) from error
    return storage


def open_journal(path: Path) -> JournalStorage:
    """Open a journal, which need not exist yet; a partial last line of a killed process is moved away."""
    lock = _JournalLock(path)
    lock.acquire()
    try:
        if path.exists():
            _cut(path, _sound_length(path))
    finally:
        lock.release()
    return _replayed(path, _Backend(str(path), lock_obj=lock))


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
