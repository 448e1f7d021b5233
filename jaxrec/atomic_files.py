"""Files that are written atomically, so that each is old or new and never half-written; and JSON files."""

import contextlib
import errno
import glob
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import jax
import numpy as np

from jaxrec.errors import InputError

TEMPORARY = ".tmp-"  # start of the names of temporary files
STALE_SECONDS = 60.0
ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "the disk quota is exceeded; free some space or choose another folder",
    errno.ENOENT: "the folder was removed; restore it or choose another folder",
    errno.ESTALE: "the folder was removed or its server restarted; restore it or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission to write there; change the permissions or choose another folder",
    errno.EPERM: "no permission to write there; change the permissions or choose another folder",
    errno.ENOTDIR: "part of that path is a file; choose another folder",
    errno.EEXIST: "part of that path is a file; choose another folder",
    errno.EISDIR: "a folder of that name exists; move it or choose another folder",
}


def remove_temporary(path: Path) -> None:
    """Remove the temporary files that killed processes left of a file."""
    remove_stale(path.parent.glob(f"{TEMPORARY}????????-{glob.escape(path.name)}"))


def remove_stale(files: Iterable[Path]) -> None:
    """Remove temporary files of killed processes; younger ones may still be in use."""
    for file in files:
        with contextlib.suppress(OSError):  # another process removed it
            if time.time() - file.stat().st_mtime > STALE_SECONDS:
                file.unlink()


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically: call `write` with a temporary path next to `path`, then rename that file to `path`.

    Readers see either the old or the new file, also after a crash or power loss. Missing folders are created. The
    temporary name keeps the suffixes of `path`, because writers such as pandas depend on them. On failure the temporary
    file is removed and the old file is kept; a later call removes that of a killed process.

    Raises:
        InputError: the file cannot be written; the message has the folder and the fix.
    """
    temporary = path.with_name(f"{TEMPORARY}{uuid4().hex[:8]}-{path.name}")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            _rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    # The rename is durable once the folder is synced, which not every file system supports.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    remove_temporary(path)


def remove_mark(path: Path) -> None:
    """Remove the file that marks a folder as complete, before the other files of the folder are replaced.

    Raises:
        InputError: the file cannot be removed.
    """
    with _writing(path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Convert an OSError while a file is written into an InputError with the folder and the fix."""
    try:
        yield
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
        raise InputError(f"Cannot write {path.name} in {path.parent}: {advice}.") from error


def _rename(temporary: Path, path: Path) -> None:
    """Rename a file; NFS may report a rename as failed that was carried out, if its first answer was lost."""
    number = temporary.stat().st_ino
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        if not path.exists() or path.stat().st_ino != number:
            raise


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8", newline="")

    write_atomic(path, write)


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically; NaN and infinities become null, and keys keep their order.

    NumPy and JAX scalars and arrays are converted to numbers and lists.
    """
    write_text(path, json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing or not valid JSON.
    """
    with reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Convert any error while reading a file into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}: check the path, or train the model.") from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # damaged files raise many exceptions: SafetensorError, BadZipFile, EOFError, KeyError …
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged or not a jaxrec file ({reason}): write it again.") from error


def _jsonable(value: object) -> object:
    """Convert arrays to lists, and numbers that JSON lacks to null."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
