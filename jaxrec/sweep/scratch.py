"""Temporary folders that nobody else can read or write, and that do not outlive a killed process for long."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jaxrec.atomic_files import STALE_SECONDS
from jaxrec.sweep.file_lock import FileLock, is_held

PREFIX = "jaxrec-search-"
LOCK = "in-use.lock"  # held by the process that uses the folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new temporary folder, and remove it afterwards; those that killed processes left are removed first."""
    _remove_stale()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder, FileLock(Path(folder) / LOCK):
        yield Path(folder)


def _remove_stale() -> None:
    """Remove the folders of killed processes of this user; younger ones may not be locked yet."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it belongs to another user, or another process removed it
            found = folder.lstat()
            is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
            if is_own and time.time() - found.st_mtime > STALE_SECONDS and not is_held(folder / LOCK):
                shutil.rmtree(folder, ignore_errors=True)
