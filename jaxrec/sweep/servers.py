"""Storage of studies on a server: PostgreSQL, MySQL, or Optuna's gRPC proxy.

Calls wait while the server cannot be reached, for example because it restarts. A call whose connection broke may have
been carried out or not, so each is made safe to repeat: a new trial carries a token by which it is found again.
"""

import abc
import copy
import logging
import random
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from jaxrec.errors import InputError

PASSWORD = "JAXREC_STORAGE_PASSWORD"  # environment variable with the password of a URL that has none
RETRY_MINUTES = 10
TOKEN = "jaxrec:token"  # attribute of a trial, unique

T = TypeVar("T")

log = logging.getLogger(__name__)


class UnreachableError(ConnectionError):
    """The server cannot be reached, or the connection broke during a call."""


class StorageLostError(InputError):
    """The server could not be reached for a long time, so the search ends; the same command continues it."""


class ServerStorage(BaseStorage):
    """Storage of a server, whose calls wait while it cannot be reached.

    Args:
        inner: the storage; it raises `UnreachableError`, or gRPC's error.
        minutes: time to wait before giving up.
    """

    def __init__(self, inner: BaseStorage, minutes: float = RETRY_MINUTES) -> None:
        self.inner, self.minutes, self.is_lost = inner, minutes, False

    def call(self, name: str, *args: object, **kwargs: object) -> Any:
        """Call a method of the inner storage until the server can be reached."""
        return self._patiently(lambda is_repeated: getattr(self.inner, name)(*args, **kwargs))

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """Create a trial, once."""
        trial = create_trial(state=TrialState.RUNNING) if template_trial is None else copy.deepcopy(template_trial)
        token = uuid.uuid4().hex
        trial.system_attrs = {**trial.system_attrs, TOKEN: token}

        def create(is_repeated: bool) -> int:
            if is_repeated:
                for other in self.inner.get_all_trials(study_id, deepcopy=False):
                    if other.system_attrs.get(TOKEN) == token:
                        return other._trial_id
            return self.inner.create_new_trial(study_id, trial)

        return self._patiently(create)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Change the state of a trial; a repeated change has been carried out before."""

        def change(is_repeated: bool) -> bool:
            try:
                return self.inner.set_trial_state_values(trial_id, state, values) or is_repeated
            except UpdateFinishedTrialError:
                if is_repeated and state.is_finished():
                    return True
                raise

        return self._patiently(change)

    def _patiently(self, call: Callable[[bool], T]) -> T:
        """Repeat a call until the server can be reached; its argument is whether it is repeated."""
        lost_at: float | None = None
        while True:
            try:
                result = call(lost_at is not None)
            except Exception as error:
                if not is_unreachable(error):
                    raise
                now = time.monotonic()
                if lost_at is None:
                    lost_at = now
                    if not self.is_lost:
                        log.warning("the storage cannot be reached: waiting for up to %g minutes", self.minutes)
                if self.is_lost or now - lost_at > 60 * self.minutes:
                    self.is_lost = True
                    raise StorageLostError(
                        f"the storage could not be reached for {self.minutes:g} minutes; the same command continues "
                        "the search"
                    ) from None
                time.sleep(0.5 + random.random())
            else:
                if lost_at is not None:
                    log.warning("the storage is back after %.0f s", time.monotonic() - lost_at)
                return result


def _delegate(name: str) -> Callable[..., Any]:
    def method(self: ServerStorage, *args: object, **kwargs: object) -> Any:
        return self.call(name, *args, **kwargs)

    return method


for _name, _method in vars(BaseStorage).items():
    if callable(_method) and not _name.startswith("_") and _name not in vars(ServerStorage):
        setattr(ServerStorage, _name, _delegate(_name))
abc.update_abstractmethods(ServerStorage)  # type: ignore[type-abstract]


def is_unreachable(error: BaseException) -> bool:
    """Return whether a call failed because the server could not be reached."""
    if isinstance(error, UnreachableError):
        return True
    code = getattr(error, "code", None)  # of gRPC; UNKNOWN: the proxy cannot reach its database
    return type(error).__module__.startswith("grpc") and callable(code) and code().name in ("UNAVAILABLE", "UNKNOWN")


def is_server(url: str) -> bool:
    """Return whether a URL names a server, as opposed to a file."""
    return "://" in url and not url.startswith("sqlite")


def without_password(url: str) -> str:
    """Return a database URL with its credentials hidden."""
    return re.sub(r"//.*@", "//...@", url)


def patient(storage: BaseStorage) -> ServerStorage:
    """The storage of a server, with calls that wait while it cannot be reached."""
    return ServerStorage(storage)  # type: ignore[abstract]


def open_proxy(url: str) -> BaseStorage:
    """Connect to Optuna's gRPC proxy."""
    try:
        import grpc
    except ImportError:
        raise InputError(f"sweep.storage={url} needs gRPC: pip install 'jaxrec[grpc]'") from None
    import warnings

    from optuna.exceptions import ExperimentalWarning
    from optuna.storages import GrpcStorageProxy

    match = re.fullmatch(r"grpc://(\[.+\]|[^:/@]+):(\d+)/?", url)
    if match is None:
        raise InputError(f"sweep.storage={without_password(url)}: use grpc://HOST:PORT, e.g. grpc://localhost:13000")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        storage = GrpcStorageProxy(host=match[1], port=int(match[2]))
    try:
        storage.wait_server_ready(timeout=10)
        storage.get_all_studies()
    except (ConnectionError, grpc.RpcError):
        storage.close()
        raise InputError(
            f'cannot open the storage {url}: no proxy answers; to start one: python -c "from optuna.storages import '
            "get_storage, run_grpc_proxy_server as run; run(get_storage('sqlite:///studies.db'), port="
            f'{match[2]})"'
        ) from None
    return storage
