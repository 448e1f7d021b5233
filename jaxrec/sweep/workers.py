"""Worker processes of a sweep: which are alive, whose turn it is to propose, and the trials that dead ones left.

Workers mark their trials with their id; a running trial of a dead worker is an orphan. For a study in a file, each
worker holds a lock on its own file, `workers/<id>.lock`, and a second lock gives turns. The operating system releases
locks as soon as a process ends, so there are no timeouts. The locks are in the sweep directory, or next to the file of
the study if that is elsewhere. For a study on a server, see `leases`. Optuna's heartbeat does not cover the
ask-and-tell interface.
"""

import itertools
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from optuna.storages import BaseStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxrec.fitting.saved_slots import STATES
from jaxrec.sweep import leases
from jaxrec.sweep.file_lock import FileLock, is_held
from jaxrec.sweep.servers import ServerStorage

TURNS = "ask.lock"


class Worker(Protocol):
    """This process as a worker of a study."""

    @property
    def id(self) -> str:
        """Name of this process, unique."""

    def turn(self) -> AbstractContextManager[None]:
        """Wait for the turn of this worker to propose trials, and hold it while in context."""

    def check(self) -> None:
        """Raise `leases.LeaseLostError` if the turn may have been lost."""

    def is_alive(self, worker: str) -> bool:
        """Return whether a worker may be alive."""


@dataclass(frozen=True)
class FileWorker:
    """A worker of a study in a file; see `Worker`."""

    id: str
    directory: Path

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Hold the lock that gives turns; the files of dead workers are removed."""
        with _turn(self.directory):
            for file in (self.directory / "workers").glob("*.lock"):
                if not is_held(file):
                    with suppress(OSError):
                        file.unlink()
            yield

    def check(self) -> None:
        """Do nothing: a file lock is never lost."""

    def is_alive(self, worker: str) -> bool:
        """Return whether a worker holds its lock."""
        return is_held(_file(self.directory, worker))


@contextmanager
def at_work(study: Study, directory: Path) -> Iterator[Worker]:
    """Register this process as a worker of a study while in context; trials left running afterwards are orphans.

    Args:
        study: the study.
        directory: the sweep directory.
    """
    if isinstance(study._storage, ServerStorage):
        with leases.lease(study) as worker:
            yield worker
        return
    name, place = uuid.uuid4().hex, locks_of(study._storage, directory)
    lock = FileLock(_file(place, name))
    # In turn: a file that is not locked yet looks like that of a dead worker.
    with _turn(place):
        lock.acquire()
    try:
        yield FileWorker(name, place)
    finally:
        # The file is kept so that processes on other machines sharing the directory see that the lock is free; the
        # next process to propose trials removes it.
        lock.release()


def locks_of(storage: BaseStorage, directory: Path) -> Path:
    """Return the folder with the locks of a study in a file: the sweep directory, if the file is there, too."""
    file = None
    if isinstance(storage, JournalStorage) and isinstance(storage._backend, JournalFileBackend):
        file = storage._backend._file_path
    elif isinstance(storage, _CachedStorage):
        file = storage._backend.engine.url.database
    if not file or file == ":memory:" or Path(file).absolute().parent == directory.absolute():
        return directory
    return Path(f"{Path(file).absolute()}.locks")


def own_states(directory: Path) -> Path:
    """Return a folder for the training states of this process: the first that no living process uses."""
    for number in itertools.count():
        folder = directory / STATES / str(number)
        if FileLock(folder / "in-use.lock").acquire(wait=False):  # until the process ends
            return folder
    raise AssertionError


def record_round(study: Study, worker: Worker, number: int) -> None:
    """Store a round that a worker may have reached."""
    study.set_user_attr(f"round {worker.id}", number)


def orphans(study: Study, worker: Worker) -> list[FrozenTrial]:
    """Return the running trials of dead workers, in order; outside of a turn, also those about to be proposed."""
    found = [t for t in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)) if not _is_run(t, worker)]
    return sorted(found, key=lambda trial: trial.number)


def last_round(study: Study, trial: FrozenTrial | None) -> int:
    """Return the latest round that the worker of a trial may have reached; if it is unknown, that any worker has."""
    worker = None if trial is None else trial.user_attrs.get("worker")
    trials = study.get_trials(deepcopy=False)
    same = [t for t in trials if worker in (None, t.user_attrs.get("worker"))]
    rounds = [t.user_attrs.get(name, 0) for t in same for name in ("started_round", "ended_round")]
    recorded = [
        int(number)
        for name, number in study.user_attrs.items()
        if name.startswith("round ") and worker in (None, name.removeprefix("round "))
    ]
    return max([0, *rounds, *recorded])


def any_alive(study: Study, worker: Worker) -> bool:
    """Return whether any trial is running in a process that may be alive."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(_is_run(trial, worker) for trial in running)


def is_run(study: Study, directory: Path, trial: FrozenTrial) -> bool:
    """Return whether the worker of a running trial seems to be alive, without being a worker."""
    worker, attributes = trial.user_attrs.get("worker"), study.user_attrs
    if worker is None:
        return False
    if leases.LEASE + worker in attributes:
        return leases.is_recent(attributes, worker)
    return is_held(_file(locks_of(study._storage, directory), worker))


def _is_run(trial: FrozenTrial, worker: Worker) -> bool:
    # A worker keeps its turn until the trial carries its id, so a trial without an id belongs to a dead process.
    return "worker" in trial.user_attrs and worker.is_alive(trial.user_attrs["worker"])


def _file(directory: Path, worker: str) -> Path:
    return directory / "workers" / f"{worker}.lock"


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    with FileLock(directory / TURNS):
        yield
