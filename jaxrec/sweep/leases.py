"""Workers of a study on a server: leases in the study tell which are alive, and tickets whose turn it is to propose.

A worker renews its lease, a counter in the study, every few seconds. Another considers it dead when the counter has
not changed for `LEASE_SECONDS` on the clock of the observer, so clocks need not agree. Turns follow Lamport's bakery
algorithm: each worker writes only its own ticket, and the lowest ticket of a living worker is next. Both need nothing
but attributes of a study, which every storage has, and every write may be repeated.

A worker that was suspended, or lost its connection alone, may have been taken for dead. It knows that from its own
clock (`Leases.check`) and then proposes nothing more in that turn.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import TrialState

from jaxrec.sweep.servers import ServerStorage

LEASE_SECONDS = 30.0  # without a renewal, after which a worker counts as dead
RENEWALS = 6  # per lease
TURN_POLL_SECONDS = 0.1
CHOOSING = -1  # ticket of a worker that is choosing one
ENDED = "ended"  # counter of a worker that has ended

LEASE, TICKET = "lease ", "ticket "  # attributes of a study, followed by the id of a worker


class LeaseLostError(Exception):
    """Other workers may have taken this one for dead during its turn."""


def elapsed() -> float:
    """Return seconds of a clock that never jumps and goes on while the machine sleeps, if there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Leases:
    """Leases of the workers of a study, as seen by one of them; see `sweep.workers.Worker`.

    Args:
        study: the study.
        seconds: duration of a lease.
        clock: seconds since any point in time.
    """

    def __init__(self, study: Study, seconds: float, clock: Callable[[], float] = elapsed) -> None:
        storage = study._storage
        self.id = uuid.uuid4().hex
        self.seconds, self.clock, self.study_id = seconds, clock, study._study_id
        self.storage = storage
        # Renewals do not wait: the next one is due soon.
        self.direct: BaseStorage = storage.inner if isinstance(storage, ServerStorage) else storage
        self.counter = self.lapses = 0
        self.renewed = self.observed = clock()
        self._others: dict[str, tuple[object, float, bool]] = {}  # counter, since when, whether it has ever changed
        self._lock = threading.Lock()

    @property
    def interval(self) -> float:
        """Seconds between renewals."""
        return self.seconds / RENEWALS

    @property
    def is_sure(self) -> bool:
        """Whether no other worker can take this one for dead."""
        return self.clock() - self.renewed < self.seconds - self.interval

    def renew(self) -> None:
        """Renew the lease, and look at those of the others."""
        now = self.clock()
        self.counter += 1
        self.direct.set_study_user_attr(self.study_id, LEASE + self.id, [self.counter, round(time.time())])
        if now - self.renewed >= self.seconds - self.interval:
            self.lapses += 1
        self.renewed = now
        self.observe(self.direct)

    def observe(self, storage: BaseStorage) -> None:
        """Look at the leases of other workers; after a break, their time starts again."""
        now = self.clock()
        attributes = storage.get_study_user_attrs(self.study_id)
        with self._lock:
            if now - self.observed > self.seconds / 2:
                self._others = {worker: (count, now, ever) for worker, (count, _, ever) in self._others.items()}
            self.observed = now
            for name, value in attributes.items():
                if name.startswith(LEASE) and (worker := name.removeprefix(LEASE)) != self.id:
                    before = self._others.get(worker)
                    if before is None or before[0] != value[0]:
                        self._others[worker] = (value[0], now, before is not None)

    def is_alive(self, worker: str) -> bool:
        """Return whether a worker may be alive."""
        if worker == self.id:
            return True
        with self._lock:
            counter, since, _ = self._others.setdefault(worker, (None, self.observed, False))
            return counter != ENDED and self.observed - since < self.seconds

    def check(self) -> None:
        """Raise an error if another worker may have taken this one for dead since its turn began."""
        if not self.is_sure or self.lapses != self._lapses:
            raise LeaseLostError

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the turn of this worker."""
        try:
            self._set_ticket(CHOOSING)
            mine = 1 + max(0, *self._tickets().values())
            self._set_ticket(mine)
            self._lapses = self.lapses
            while any(self._is_before(worker, ticket, mine) for worker, ticket in self._tickets().items()):
                time.sleep(TURN_POLL_SECONDS)
            yield
        finally:
            self._set_ticket(0)

    def wait_until_known(self, study: Study) -> None:
        """Wait until it is known of every running trial whether its worker is alive."""
        while True:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            workers = {str(trial.user_attrs["worker"]) for trial in running if "worker" in trial.user_attrs}
            alive = [worker for worker in workers - {self.id} if self.is_alive(worker)]
            if all(self._others[worker][2] for worker in alive):
                return
            time.sleep(self.interval / 4)

    def _is_before(self, worker: str, ticket: int, mine: int) -> bool:
        is_first = ticket == CHOOSING or (ticket > 0 and (ticket, worker) < (mine, self.id))
        return worker != self.id and is_first and self.is_alive(worker)

    def _tickets(self) -> dict[str, int]:
        attributes = self.storage.get_study_user_attrs(self.study_id)
        return {name.removeprefix(TICKET): int(n) for name, n in attributes.items() if name.startswith(TICKET)}

    def _set_ticket(self, ticket: int) -> None:
        self.storage.set_study_user_attr(self.study_id, TICKET + self.id, ticket)


@contextmanager
def lease(study: Study, seconds: float | None = None) -> Iterator[Leases]:
    """Hold a lease on a study while in context, renewed by a thread."""
    leases = Leases(study, LEASE_SECONDS if seconds is None else seconds)
    leases.storage.set_study_user_attr(leases.study_id, LEASE + leases.id, [0, round(time.time())])
    leases.observe(leases.storage)
    is_over = threading.Event()

    def renew() -> None:
        while not is_over.wait(leases.interval):
            with suppress(Exception):  # tried again at the next renewal
                leases.renew()
        leases.direct.remove_session()

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        leases.wait_until_known(study)
        yield leases
    finally:
        is_over.set()
        thread.join(leases.seconds)
        with suppress(Exception):
            leases.direct.set_study_user_attr(leases.study_id, LEASE + leases.id, [ENDED, round(time.time())])


def is_recent(attributes: Mapping[str, Any], worker: str) -> bool:
    """Return whether a worker has renewed its lease lately, by the clocks of both machines; for display only."""
    counter, renewed = attributes[LEASE + worker]
    return counter != ENDED and time.time() - renewed < 2 * LEASE_SECONDS
