"""Study storage: a journal file, a database, or Optuna's gRPC proxy."""

from pathlib import Path

from optuna.storages import BaseStorage

from jaxrec.errors import InputError
from jaxrec.sweep.journal import open_journal, read_journal
from jaxrec.sweep.servers import open_proxy, patient

SWEEPS = Path("outputs/sweeps")  # default directory of searches and grids


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
        return open_journal(directory.absolute() / "journal.log" if url is None else Path(url).absolute())
    _check_url(url)
    if url.startswith("grpc://"):
        return patient(open_proxy(url))
    from jaxrec.sweep.databases import open_database  # here, because it takes long to import

    return open_database(url, directory)


def read_storage(url: str) -> BaseStorage:
    """Open an existing storage read-only; nothing is created or changed."""
    if url.endswith(".log"):
        if not Path(url).is_file():
            raise InputError(f"storage={url}: the file does not exist")
        return read_journal(Path(url))
    _check_url(url)
    if url.startswith("grpc://"):
        return open_proxy(url)
    from jaxrec.sweep.databases import read_database  # here, because it takes long to import

    return read_database(url)


def _check_url(url: str) -> None:
    if "://" not in url:
        raise InputError(
            f"sweep.storage={url} is neither a journal file (PATH.log), a database (sqlite:///FILE, "
            "postgresql+psycopg://USER@HOST/NAME, mysql+pymysql://USER@HOST/NAME) nor a proxy (grpc://HOST:PORT)"
        )
