"""Which processes of a sweep are alive, and what becomes of the trials of those that are not.

Every process holds the lock of a file of its own, `workers/<id>.lock` in the sweep directory, for as long as it
searches, and signs the trials it asks with its id. A running trial whose worker holds no lock is an orphan. Optuna's
heartbeat does not cover ask and tell, and waits for a time to pass; a lock is gone the moment its process is.
"""

import logging
import socket
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxrec.sweep.storage import FileLock, is_held

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """This process, as one of those that work on a study."""

    id: str
    file: Path

    def register(self, study: Study) -> None:
        """Leaves word of where the lock is, for processes with another sweep directory (one database, two machines)."""
        study.set_user_attr(f"worker {self.id}", f"{socket.gethostname()}:{self.file.absolute()}")

    def ask(self, study: Study, dimensions: dict[str, BaseDistribution]) -> Trial:
        """A new trial, signed."""
        trial = study.ask(dimensions)
        trial.set_user_attr("worker", self.id)
        return trial


@contextmanager
def at_work(directory: Path) -> Iterator[Worker]:
    """This process holds a worker's lock; trials it leaves running when it stops are orphans at once."""
    name = uuid.uuid4().hex
    worker = Worker(name, directory / "workers" / f"{name}.lock")
    lock = FileLock(worker.file)
    # In turn with `adopt_orphans`, which would take a file that is not locked yet for one of a dead worker.
    with FileLock(directory / "ask.lock"):
        lock.acquire()
    try:
        yield worker
    finally:
        # The file stays, so that processes on other machines that share the directory see the lock is free; the next
        # one to ask removes it.
        lock.release()


def adopt_orphans(study: Study, storage: BaseStorage, directory: Path, parameters: Collection[str]) -> None:
    """Fails the trials of dead workers and queues their parameters again; the caller holds `ask.lock`."""
    trials = study.get_trials(deepcopy=False)
    retried = {trial.user_attrs.get("retry_of") for trial in trials}
    for trial in trials:
        if trial.state != TrialState.RUNNING or _lives(study, directory, trial) is not False:
            continue
        # Queued first: should this process die in between, the next one finds the retry, and no work is lost. A trial
        # without all its parameters died while it was asked, and is no loss.
        if set(trial.params) == set(parameters) and trial.number not in retried:
            study.enqueue_trial(trial.params, user_attrs={"retry_of": trial.number})
        storage.set_trial_user_attr(trial._trial_id, "orphan", True)
        study.tell(trial.number, state=TrialState.FAIL)
        log.warning("trial %d was left by a process that ended: it is asked again", trial.number)
    for file in (directory / "workers").glob("*.lock"):
        if not is_held(file):
            with suppress(OSError):
                file.unlink()


def any_alive(study: Study, directory: Path) -> bool:
    """Whether a trial is running in a process that can be seen to live."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if remote := [trial.number for trial in running if _lives(study, directory, trial) is None]:
        log.warning("not waiting for trials %s, which run on another machine with a directory of its own", remote)
    return any(_lives(study, directory, trial) for trial in running)


def _lives(study: Study, directory: Path, trial: FrozenTrial) -> bool | None:
    """Whether the worker of a running trial is alive; None where that cannot be seen from here."""
    # Whoever asks holds `ask.lock` until the trial is signed, so that one without a signature is of a dead process.
    worker = trial.user_attrs.get("worker")
    if worker is None:
        return False
    if (file := directory / "workers" / f"{worker}.lock").exists():
        return is_held(file)
    host, _, elsewhere = study.user_attrs.get(f"worker {worker}", "").partition(":")
    if host and host != socket.gethostname():
        return None
    return bool(host) and is_held(Path(elsewhere))
