"""Studies on a server: PostgreSQL, MySQL, or Optuna's gRPC proxy.

Calls wait while the server cannot be reached, for example because it restarts. A call whose connection broke may have
been carried out or not, so each is made safe to repeat: a new trial carries a token by which it is found again.
"""

import abc
import copy
import logging
import os
import random
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event, make_url
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError

from jaxrec.errors import InputError, first_line

PASSWORD = "JAXREC_STORAGE_PASSWORD"  # environment variable with the password of a URL that has none
RETRY_MINUTES = 10
TOKEN = "jaxrec:token"  # attribute of a trial, unique
KEEPALIVE = {  # a server that vanished without closing the connection is noticed within half a minute
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

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

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
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

        return int(self._patiently(create))

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Change the state of a trial; a repeated change has been carried out before."""

        def change(is_repeated: bool) -> bool:
            try:
                return self.inner.set_trial_state_values(trial_id, state, values) or is_repeated
            except UpdateFinishedTrialError:
                if is_repeated and state.is_finished():
                    return True
                raise

        return bool(self._patiently(change))

    def _patiently(self, call: Callable[[bool], Any]) -> Any:
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
    def method(self: ServerStorage, *args: Any, **kwargs: Any) -> Any:
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


def open_server(url: str) -> ServerStorage:
    """Open the storage of a server; tables are created if there are none."""
    if url.startswith("grpc://"):
        return _patient(_proxy(url))
    return _patient(_CachedStorage(_database(url)))


def _patient(storage: BaseStorage) -> ServerStorage:
    return ServerStorage(storage)  # type: ignore[abstract]


def read_server(url: str) -> BaseStorage:
    """Open the storage of a server without changing it."""
    return _proxy(url) if url.startswith("grpc://") else _database(url, skip_table_creation=True)


def address_of(url: str) -> URL:
    """Parse a URL; a password that it lacks is taken from the environment."""
    try:
        address = make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise cannot_open(url, error) from None
    if address.username and address.password is None and (password := os.environ.get(PASSWORD)):
        address = address.set(password=password)
    return address


def cannot_open(url: str, error: Exception) -> InputError:
    """Return the error of a storage that cannot be opened, without its password."""
    reason = first_line(error)
    try:
        password = make_url(url).password or os.environ.get(PASSWORD)
    except (SQLAlchemyError, ValueError):
        password, reason = None, "not a valid URL"
    if password:
        reason = reason.replace(str(password), "...")
    return InputError(f"cannot open the storage {without_password(url)}: {type(error).__name__}: {reason}")


def without_password(url: str) -> str:
    """Return a database URL with its credentials hidden."""
    return re.sub(r"//.*@", "//...@", url)


def split_password(url: str) -> tuple[str, str | None]:
    """Return a URL without its password, and the password."""
    address = address_of(url)
    if address.password is None:
        return url, None
    return address._replace(password=None).render_as_string(hide_password=False), str(address.password)


def _database(url: str, **options: Any) -> RDBStorage:
    address = address_of(url)
    settings: dict[str, Any] = {"pool_pre_ping": True}
    if address.drivername in ("postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        settings["connect_args"] = KEEPALIVE
    text = address.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    n_tries = 10
    for attempt in range(1, n_tries + 1):
        try:
            storage = RDBStorage(text, settings, **options)
            break
        except (SQLAlchemyError, StorageInternalError, AssertionError, ImportError) as error:
            # Several processes create the tables at the same time.
            is_race = isinstance(error, IntegrityError | ProgrammingError | AssertionError) or "exists" in str(error)
            if attempt == n_tries or not is_race or isinstance(error, ImportError):
                raise cannot_open(url, error) from None
            time.sleep(random.random())
    event.listen(storage.engine, "handle_error", _raise_unreachable)
    return storage


def _raise_unreachable(context: ExceptionContext) -> None:
    """Raise `UnreachableError` for a lost connection or a deadlock; Optuna would repeat some of these calls blindly."""
    error = context.sqlalchemy_exception
    if (context.is_disconnect or isinstance(error, OperationalError | InterfaceError)) and not context.is_pre_ping:
        raise UnreachableError(type(context.original_exception).__name__) from None


def _proxy(url: str) -> BaseStorage:
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
