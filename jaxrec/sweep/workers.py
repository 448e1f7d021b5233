"""Liveness of the worker processes of a sweep, and recovery of trials whose worker died.

Every process holds a lock on its own file, `workers/<id>.lock` in the sweep directory, while it searches, and marks its
trials with its id. A running trial whose worker holds no lock is an orphan. Optuna's heartbeat does not cover the
ask-and-tell interface and needs a timeout; a lock is released as soon as its process ends.
"""

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from jaxrec.sweep.storage import FileLock, is_held

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """This process as a worker of a study."""

    id: str
    file: Path

    def register(self, study: Study) -> None:
        """Store the location of the lock for processes with another sweep directory (one database, two machines)."""
        study.set_user_attr(f"worker {self.id}", f"{socket.gethostname()}:{self.file.absolute()}")

    def record_round(self, study: Study, number: int) -> None:
        """Store a round that the worker may have reached."""
        study.set_user_attr(f"round {self.id}", number)


@contextmanager
def at_work(directory: Path) -> Iterator[Worker]:
    """Hold a worker lock while in context; trials left running afterwards are orphans."""
    name = uuid.uuid4().hex
    worker = Worker(name, directory / "workers" / f"{name}.lock")
    lock = FileLock(worker.file)
    # Serialized with `orphans`, which would treat a file that is not locked yet as that of a dead worker.
    with FileLock(directory / "ask.lock"):
        lock.acquire()
    try:
        yield worker
    finally:
        # The file is kept so that processes on other machines sharing the directory see that the lock is free; the
        # next process to request trials removes it.
        lock.release()


def orphans(study: Study, directory: Path) -> list[FrozenTrial]:
    """Return the running trials of dead workers, in order; the caller holds `ask.lock` and takes them over."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    found = [trial for trial in running if is_alive(study, directory, trial) is False]
    for file in (directory / "workers").glob("*.lock"):
        if not is_held(file):
            with suppress(OSError):
                file.unlink()
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


def any_alive(study: Study, directory: Path) -> bool:
    """Return whether any trial is running in a process known to be alive."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if remote := [trial.number for trial in running if is_alive(study, directory, trial) is None]:
        log.warning("not waiting for trials %s, which run on another machine with its own sweep directory", remote)
    return any(is_alive(study, directory, trial) for trial in running)


def is_alive(study: Study, directory: Path, trial: FrozenTrial) -> bool | None:
    """Return whether the worker of a running trial is alive; None if that cannot be determined on this machine."""
    # A worker holds `ask.lock` until the trial carries its id, so a trial without an id belongs to a dead process.
    worker = trial.user_attrs.get("worker")
    if worker is None:
        return False
    if (file := directory / "workers" / f"{worker}.lock").exists():
        return is_held(file)
    host, _, lock_path = study.user_attrs.get(f"worker {worker}", "").partition(":")
    if host and host != socket.gethostname():
        return None
    return bool(host) and is_held(Path(lock_path))
