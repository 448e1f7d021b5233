"""Atomic file writes, and the two files of a saved model, which load without pickle.

`model.json` holds the format version, the model description and all JSON values. `params.safetensors` holds arrays:
parameters, named by their keys joined with "/", and other arrays such as ids as "@NAME". Strings are stored as the
bytes of a JSON list. `model.json` is written last and contains digests of the arrays and of itself, so that parameters
are never combined with the ids of another run, and a damaged file is an error.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxrec import first_format
from jaxrec.errors import InputError
from jaxrec.models.model import Params

MODEL_FILE = "model.json"
PARAMS_FILE = "params.safetensors"
FORMAT = 2

Extra = dict[str, Any]  # arrays and JSON values stored with the parameters, by name

DTYPES = {"BOOL": "?", **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IUFC" for size in (1, 2, 4, 8)}}

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


def remove_temporary(folder: Path) -> None:
    """Remove temporary files of killed processes from a folder; younger ones may still be in use."""
    for file in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):  # another process removed it
            if time.time() - file.stat().st_mtime > STALE_SECONDS:
                file.unlink()


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file atomically: call `write` with a temporary path next to `path`, then rename that file to `path`.

    Readers see either the old or the new file, also after a crash or power loss. Missing folders are created. The
    temporary name keeps the suffixes of `path`, because writers such as pandas depend on them. On failure the temporary
    file is removed and the old file is kept.

    Raises:
        InputError: the file cannot be written; the message has the folder and the fix.
    """
    temporary = path.with_name(f"{TEMPORARY}{uuid4().hex[:8]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        _rename(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            advice = ADVICE.get(error.errno or 0, f"{error.strerror or error}; choose another folder")
            raise InputError(f"Cannot write {path.name} in {path.parent}: {advice}.") from error
        raise
    # The rename is durable once the folder is synced, which not every file system supports.
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


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
    with _reading(path):
        return json.loads(path.read_text(encoding="utf-8"))


def save_params(directory: Path, params: Mapping[str, object], *, extra: Mapping[str, object] | None = None) -> None:
    """Write `model.json` and `params.safetensors` into a directory, each atomically.

    Args:
        directory: the folder, created if missing.
        params: nested dicts of NumPy or JAX arrays of any JAX dtype (including bfloat16); keys without "/".
        extra: arrays or JSON values by name, e.g. the ids of users and items. Object arrays must hold strings.
    """
    arrays: dict[str, np.ndarray] = {}
    stored: dict[str, Any] = {"sha256": "", "dtypes": {}, "strings": {}, "empty": []}  # and "json", own digest
    values: dict[str, object] = {}

    def add(name: str, array: np.ndarray) -> None:
        if array.dtype.kind in "OU":
            if not all(isinstance(entry, str) for entry in array.flat):
                raise TypeError(f"{name}: an object array can only be saved if all entries are strings")
            stored["strings"][name] = {"shape": array.shape, "dtype": array.dtype.str}
            array = np.frombuffer(json.dumps(array.ravel().tolist()).encode(), np.uint8)
        array = np.asarray(array, order="C")  # save_file requires contiguous memory
        if array.dtype.kind == "V":  # bfloat16 and similar dtypes, not all supported by safetensors
            stored["dtypes"][name] = array.dtype.name
            array = array.view(f"u{array.dtype.itemsize}")
        arrays[name] = array

    for keys, leaf in flatten_dict(dict(params), keep_empty_nodes=True).items():
        name = "/".join(map(str, keys))
        if not all(isinstance(key, str) and key and "/" not in key for key in keys) or name.startswith("@"):
            raise ValueError(f'{name!r}: a key must be a nonempty string without "/" and without leading "@"')
        if leaf is empty_node:
            stored["empty"].append(name)
        elif isinstance(leaf, np.ndarray | np.generic | jax.Array):
            add(name, np.asarray(leaf))
        else:
            raise TypeError(f"{name}: {type(leaf).__name__} is neither an array nor a dict of arrays")
    for name, value in first_format.with_public_name(dict(extra or {})).items():
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            add(f"@{name}", np.asarray(value))
        else:
            values[name] = value

    def write(path: Path) -> None:
        path.touch()
        mode = path.stat().st_mode
        try:
            save_file(arrays, path)  # renames a temporary file with restricted permissions
            path.chmod(mode)
        except SafetensorError as error:  # reports the errno of system errors only in its text
            raise _system_error(error) from error
        stored["sha256"] = _digest(path)

    write_atomic(directory / PARAMS_FILE, write)
    about = {"format": FORMAT, **values, "arrays": stored}
    stored["json"] = _json_digest(about)
    write_text(directory / MODEL_FILE, json.dumps(about, indent=2) + "\n")
    (directory / first_format.FILE).unlink(missing_ok=True)
    remove_temporary(directory)


def load(directory: Path) -> tuple[Params, Extra]:
    """Load nested parameters and `extra`, as passed to `save_params`.

    Parameters are memory-mapped, so they are copied only once, to the device.

    Raises:
        InputError: a file is missing, truncated, damaged or of a later version.
    """
    file = model_file(directory)
    if file.name == first_format.FILE:
        with _reading(file):
            return first_format.read(file)
    path = directory / PARAMS_FILE
    about = read_json(file)
    with _reading(file):
        if (number := about.get("format")) != FORMAT:
            if isinstance(number, int) and number > FORMAT:
                raise InputError(
                    f"{file} has format {number}, but this version of jaxrec supports up to {FORMAT}: update jaxrec"
                )
            raise ValueError(f"format {number}")
        stored = about["arrays"]
        if "json" in stored and stored["json"] != _json_digest(about):
            raise ValueError("its checksum is wrong")
        del about["format"], about["arrays"]
        empty: dict[tuple[str, ...], object] = {tuple(name.split("/")): {} for name in stored["empty"]}
    with _reading(path):
        if _digest(path) != stored["sha256"]:
            raise InputError(
                f"{path} is damaged or belongs to another run than {file}: the checksums differ; save the run again"
            )
        arrays = _mapped(path)
        for name in arrays.keys() & stored["dtypes"].keys():
            arrays[name] = arrays[name].view(jnp.dtype(stored["dtypes"][name]))
        for name, kind in stored["strings"].items():
            arrays[name] = _strings(json.loads(arrays[name].tobytes()), kind["dtype"]).reshape(kind["shape"])
    params = {tuple(name.split("/")): array for name, array in arrays.items() if not name.startswith("@")}
    others = {name[1:]: np.array(array) for name, array in arrays.items() if name.startswith("@")}
    return unflatten_dict(params | empty), {**about, **others}


def model_file(directory: Path) -> Path:
    """Return the main file of a saved model: `model.json`, or `params.npz` of jaxrec 0.1.0."""
    old = directory / first_format.FILE
    return old if old.exists() and not (directory / MODEL_FILE).exists() else directory / MODEL_FILE


def load_params(directory: Path) -> Params:
    """Load only the parameters, see `load`."""
    return load(directory)[0]


def load_extra(directory: Path) -> Extra:
    """Load only the values saved with the parameters, see `load`."""
    return load(directory)[1]


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """Memory-map the arrays of a safetensors file, by name.

    Implemented here because the NumPy reader of safetensors temporarily holds each array twice in memory: 1.1 GB for a
    matrix of 0.55 GB, where a view needs none.
    """
    with safe_open(path, framework="np"):  # validates header, offsets and length
        data = np.memmap(path, np.uint8, "r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            view = np.asarray(data[start + begin : start + end])
            arrays[name] = view.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def _strings(values: list[str], dtype: str) -> np.ndarray:
    """Return strings as an array; its memory depends on them alone, not on the stored dtype."""
    if not all(isinstance(value, str) for value in values):
        raise ValueError("strings are no strings")
    strings = np.array(values, object if np.dtype(dtype).kind == "O" else str)
    if strings.dtype.kind == "U" and strings.size and np.dtype(dtype).itemsize > strings.dtype.itemsize:
        raise ValueError(f"strings have the dtype {dtype}")
    return strings


def _json_digest(about: Mapping[str, Any]) -> str:
    """Return the digest of what `model.json` holds, without that digest."""
    arrays = {key: value for key, value in about["arrays"].items() if key != "json"}
    return hashlib.sha256(json.dumps({**about, "arrays": arrays}).encode()).hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _system_error(error: SafetensorError) -> OSError:
    """Convert a safetensors error such as "... (os error 28)" to the OSError it reports."""
    match = re.search(r"os error (\d+)", str(error))
    number = int(match[1]) if match else errno.EIO
    return OSError(number, os.strerror(number) if match else str(error))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
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
