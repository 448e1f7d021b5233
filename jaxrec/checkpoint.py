"""Files that are whole or not there at all, and parameters that load without pickle.

A checkpoint is one file, `params.npz`: replacing one file is atomic everywhere, swapping a folder is not, and so
parameters are never found beside the ids of another run. `numpy.load` reads it: members are parameters, named by their
keys joined with "/", and what starts with "@" is ours ("@extra/NAME" for further arrays, "@meta" for JSON).
"""

import contextlib
import errno
import json
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec import memory
from jaxrec.errors import InputError

PARAMS_FILE = "params.npz"
FORMAT = 1
CHUNK = 1 << 20  # bytes read at a time

ADVICE = {
    errno.ENOSPC: "the disk is full; free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up; free some space or choose another folder",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "no permission to write there; change the permissions or choose another folder",
    errno.EPERM: "no permission to write there; change the permissions or choose another folder",
    errno.ENOTDIR: "part of that path is a file; choose another folder",
    errno.EEXIST: "part of that path is a file; choose another folder",
    errno.EISDIR: "a folder of that name is in the way; move it or choose another folder",
}


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary path beside `path`, then puts that file in the place of `path` in one step.

    Readers see the old file or the new one, also after a crash or a power cut. Missing folders are made. The temporary
    name keeps the suffixes of `path`, because writers such as pandas go by them. If anything fails, the temporary file
    is removed and the old file stays.

    Raises:
        InputError: the file cannot be written; names the folder and says what to do.
    """
    temporary = path.with_name(f".tmp-{uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            advice = ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
            raise InputError(f"Cannot write {path.name} in {path.parent}: {advice}.") from error
        raise
    # The new name survives a power cut once its folder is on disk; not every file system can be asked for that.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Writes text as UTF-8, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8", newline="")

    write_atomic(path, write)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON, whole or not at all; NaN and infinities, which JSON lacks, become null. Keys keep their order.

    NumPy and JAX scalars and arrays are taken as numbers and lists.
    """
    write_text(path, json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file.

    Raises:
        InputError: the file is missing or is not JSON; names it.
    """
    with _reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def save_params(directory: Path, params: Mapping[str, Any], *, extra: Mapping[str, Any] | None = None) -> None:
    """Writes `directory/params.npz`, whole or not at all; what was there before is replaced in one step.

    Args:
        directory: made if missing.
        params: nested dicts of NumPy or JAX arrays, of any dtype JAX has (bfloat16 too); keys without "/".
        extra: name → array or JSON value, such as the ids of users and items. Object arrays must hold strings.
    """
    meta: dict[str, Any] = {"format": FORMAT, "dtypes": {}, "strings": {}, "empty": [], "json": {}}
    members: dict[str, np.ndarray] = {}

    def add(name: str, array: np.ndarray) -> None:
        if array.dtype.kind == "O":
            if not all(isinstance(entry, str) for entry in array.flat):
                raise TypeError(f"{name}: an array of objects can be saved only if all of them are strings")
            meta["strings"][name] = {"shape": array.shape, "values": array.ravel().tolist()}
        elif array.dtype.kind == "V":  # bfloat16 and its like, which numpy would write as bytes without a name
            meta["dtypes"][name] = array.dtype.name
            members[name] = array.view(f"u{array.dtype.itemsize}")
        else:
            members[name] = array

    for name, leaf in _leaves(params):
        if isinstance(leaf, Mapping):
            meta["empty"].append(name)
        else:
            add(name, np.asarray(leaf))
    for name, value in (extra or {}).items():
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            add(f"@extra/{name}", np.asarray(value))
        else:
            meta["json"][name] = value
    members["@meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)

    def write(path: Path) -> None:
        # By hand, for numpy.savez takes neither a parameter called "file" nor, before 2.1, a refusal to pickle.
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in members.items():
                # A bare ZipInfo carries no clock: the same parameters give the same bytes.
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, array, allow_pickle=False)

    write_atomic(directory / PARAMS_FILE, write)


def load_params(directory: Path) -> dict[str, Any]:
    """The nested dict of NumPy arrays that `save_params` was given, dtypes and all.

    Raises:
        InputError: the file is missing, truncated or damaged; names it.
    """
    params: dict[str, Any] = {}
    arrays, meta = _read(directory / PARAMS_FILE, lambda name: not name.startswith("@extra/"))
    for name, value in [*arrays.items(), *((name, {}) for name in meta["empty"])]:
        *parents, last = name.split("/")
        node = params
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = value
    return params


def load_extra(directory: Path) -> dict[str, Any]:
    """What `save_params` was given as `extra`: arrays as NumPy arrays (strings in an object array again), JSON as JSON.

    Raises:
        InputError: the file is missing, truncated or damaged; names it.
    """
    arrays, meta = _read(directory / PARAMS_FILE, lambda name: name.startswith("@extra/"))
    return {name.removeprefix("@extra/"): array for name, array in arrays.items()} | meta["json"]


def _leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Path and array of each leaf; an empty dict counts as a leaf."""
    for key, value in tree.items():
        path = f"{prefix}{key}"
        if not isinstance(key, str) or not key or "/" in key or path.startswith("@"):
            raise ValueError(f'{path!r}: a key must be a string, not empty, without "/" and without "@" in front')
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}/")
        elif isinstance(value, Mapping | np.ndarray | np.generic | jax.Array):
            yield path, value
        else:
            raise TypeError(f"{path}: {type(value).__name__} is neither an array nor a dict of arrays")


def _read(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The members of an archive that are wanted, as they were before they were saved, and the JSON beside them."""
    with _reading(path), zipfile.ZipFile(path) as archive:

        def member(name: str) -> np.ndarray:
            # Read in full first, so that the checksum is compared before numpy believes a byte of it.
            with archive.open(f"{name}.npy") as file:
                while file.read(CHUNK):
                    pass
            with archive.open(f"{name}.npy") as file:
                return _array(file)

        meta = json.loads(member("@meta").tobytes())
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, where this version of jaxrec reads {FORMAT}")
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        arrays = {name: member(name) for name in names if name != "@meta" and wanted(name)}
        for name in arrays.keys() & meta["dtypes"].keys():
            arrays[name] = arrays[name].view(jnp.dtype(meta["dtypes"][name]))
        for name, strings in meta["strings"].items():
            if wanted(name):
                arrays[name] = np.array(strings["values"], object).reshape(strings["shape"])
    return arrays, meta


def _array(file: IO[bytes]) -> np.ndarray:
    """The array of an .npy file that `save_params` wrote, read into memory that JAX can use without a copy."""
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_column, dtype = read_header[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded: they would have to be unpickled")
    array = memory.empty(shape[::-1] if by_column else shape, dtype)
    rest = memoryview(array.reshape(-1).view(np.uint8))
    while rest:
        piece = file.read(min(CHUNK, len(rest)))
        if not piece:
            raise ValueError("the array ends before its last entry")
        rest[: len(piece)] = piece
        rest = rest[len(piece) :]
    return array.T if by_column else array


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is read into an InputError that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(
            f"There is no file {path}; check the path, or train the model that should be there."
        ) from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # damaged archives raise nearly anything: BadZipFile, zlib.error, EOFError, KeyError …
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{path} is damaged or not a file of jaxrec's ({reason}); write it again.") from error


def _jsonable(value: Any) -> Any:
    """The value with arrays as lists and without numbers that JSON lacks."""
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {key: _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
