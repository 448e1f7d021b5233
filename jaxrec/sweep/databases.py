"""Studies in databases: SQLite, PostgreSQL and MySQL. Importing SQLAlchemy takes a quarter of a second."""

import os
import random
import time
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from sqlalchemy import URL, create_engine, event, inspect, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from jaxrec.errors import InputError, first_line
from jaxrec.sweep.file_lock import FileLock
from jaxrec.sweep.servers import PASSWORD, UnreachableError, is_server, patient, without_password

KEEPALIVE = {  # a server that vanished without closing the connection is noticed within half a minute
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def open_database(url: str, directory: Path) -> BaseStorage:
    """Open a database; tables are created if there are none. `directory`: see `storage.open_storage`."""
    if is_server(url):
        return patient(_CachedStorage(_connected(url)))
    # SQLite serializes writers, so they need a long timeout. No pool, which would leave connections open.
    is_file = make_url(url).database not in (None, "", ":memory:")
    options = {"connect_args": {"timeout": 60}} | ({"poolclass": NullPool} if is_file else {})
    # Two processes creating the tables of one SQLite file at the same time would crash.
    with FileLock(_beside(url, directory)):
        try:
            return RDBStorage(url, options)
        except (SQLAlchemyError, StorageInternalError) as error:
            raise cannot_open(url, error) from error


def read_database(url: str) -> BaseStorage:
    """Open an existing database without changing it."""
    if is_server(url):
        _check_tables(url, address_of(url))
        return _connected(url, skip_table_creation=True)
    address = make_url(url)
    if not address.database or not Path(address.database).is_file():
        raise InputError(f"storage={url}: the file does not exist")
    read_only = {"mode": "ro", "uri": "true"}
    address = address.set(database=Path(address.database).absolute().as_uri(), query=read_only)
    _check_tables(url, address)
    return RDBStorage(address.render_as_string(hide_password=False), {"poolclass": NullPool}, skip_table_creation=True)


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


def split_password(url: str) -> tuple[str, str | None]:
    """Return a URL without its password, and the password."""
    address = address_of(url)
    if address.password is None:
        return url, None
    return address._replace(password=None).render_as_string(hide_password=False), str(address.password)


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
    """Return the lock of a SQLite file, next to it; else in the sweep directory."""
    file = make_url(url).database
    if not file or file == ":memory:" or not Path(file).absolute().parent.is_dir():
        return directory / "ask.lock"
    return Path(f"{Path(file).absolute()}.lock")


def _connected(url: str, **options: Any) -> RDBStorage:
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
