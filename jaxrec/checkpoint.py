"""Files that are whole or not there at all, and the two files of a saved model, which load without pickle.

`model.json` holds the format's number, what names the model, and every JSON value. `params.safetensors` holds arrays:
parameters, named by their keys joined with "/", and "@NAME" for others, such as ids. Strings are stored there as the
bytes of a JSON list. `model.json` is written last and states the digest of its arrays, so that parameters are never
read beside the ids of another run.
"""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
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

MODEL_FILE = "model.json"
PARAMS_FILE = "params.safetensors"
FORMAT = 2

DTYPES = {"BOOL": "?", **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IUFC" for size in (1, 2, 4, 8)}}

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
    """Writes `model.json` and `params.safetensors` into the directory, each whole or not at all.

    Args:
        directory: made if missing.
        params: nested dicts of NumPy or JAX arrays, of any dtype JAX has (bfloat16 too); keys without "/".
        extra: name → array or JSON value, such as the ids of users and items. Object arrays must hold strings.
    """
    arrays: dict[str, np.ndarray] = {}
    stored: dict[str, Any] = {"sha256": "", "dtypes": {}, "strings": {}, "empty": []}
    values: dict[str, Any] = {}

    def add(name: str, array: np.ndarray) -> None:
        if array.dtype.kind in "OU":
            if not all(isinstance(entry, str) for entry in array.flat):
                raise TypeError(f"{name}: an array of objects can be saved only if all of them are strings")
            stored["strings"][name] = {"shape": array.shape, "dtype": array.dtype.str}
            array = np.frombuffer(json.dumps(array.ravel().tolist()).encode(), np.uint8)
        array = np.asarray(array, order="C")  # save_file writes memory as it lies
        if array.dtype.kind == "V":  # bfloat16 and its like, not all of which safetensors knows
            stored["dtypes"][name] = array.dtype.name
            array = array.view(f"u{array.dtype.itemsize}")
        arrays[name] = array

    for keys, leaf in flatten_dict(dict(params), keep_empty_nodes=True).items():
        name = "/".join(map(str, keys))
        if not all(isinstance(key, str) and key and "/" not in key for key in keys) or name.startswith("@"):
            raise ValueError(f'{name!r}: a key must be a string, not empty, without "/" and without "@" in front')
        if leaf is empty_node:
            stored["empty"].append(name)
        elif isinstance(leaf, np.ndarray | np.generic | jax.Array):
            add(name, np.asarray(leaf))
        else:
            raise TypeError(f"{name}: {type(leaf).__name__} is neither an array nor a dict of arrays")
    for name, value in (extra or {}).items():
        if isinstance(value, np.ndarray | np.generic | jax.Array):
            add(f"@{name}", np.asarray(value))
        else:
            values[name] = value

    def write(path: Path) -> None:
        path.touch()
        mode = path.stat().st_mode
        try:
            save_file(arrays, path)  # from a file of its own, which nobody else may read, renamed
            path.chmod(mode)
        except SafetensorError as error:  # of the system's errors it keeps the number in its text alone
            raise _system_error(error) from error
        stored["sha256"] = _digest(path)

    write_atomic(directory / PARAMS_FILE, write)
    write_text(directory / MODEL_FILE, json.dumps({"format": FORMAT, **values, "arrays": stored}, indent=2) + "\n")
    (directory / first_format.FILE).unlink(missing_ok=True)


def load(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `save_params` was given: nested parameters, and `extra` with strings in object arrays again.

    Parameters are mapped from the file, not read into memory: whoever needs them copies them once, to the device.

    Raises:
        InputError: a file is missing, truncated, damaged or of a later version; names it.
    """
    file = model_file(directory)
    if file.name == first_format.FILE:
        with _reading(file):
            return first_format.read(file)
    path = directory / PARAMS_FILE
    about = read_json(file)
    with _reading(file):
        if (number := about.pop("format")) != FORMAT:
            if isinstance(number, int) and number > FORMAT:
                raise InputError(
                    f"{file} has format {number}, and this version of jaxrec reads up to {FORMAT}: update jaxrec"
                )
            raise ValueError(f"format {number}")
        stored = about.pop("arrays")
        empty: dict[tuple[str, ...], Any] = {tuple(name.split("/")): {} for name in stored["empty"]}
    with _reading(path):
        if _digest(path) != stored["sha256"]:
            raise InputError(
                f"{path} is damaged, or of another run than {file}: its checksum is not the one stated there; save the "
                "run again"
            )
        arrays = _mapped(path)
        for name in arrays.keys() & stored["dtypes"].keys():
            arrays[name] = arrays[name].view(jnp.dtype(stored["dtypes"][name]))
        for name, kind in stored["strings"].items():
            arrays[name] = np.array(json.loads(arrays[name].tobytes()), kind["dtype"]).reshape(kind["shape"])
    params = {tuple(name.split("/")): array for name, array in arrays.items() if not name.startswith("@")}
    others = {name[1:]: np.array(array) for name, array in arrays.items() if name.startswith("@")}
    return unflatten_dict(params | empty), {**about, **others}


def model_file(directory: Path) -> Path:
    """The file that names a saved model: `model.json`, or that of a run of jaxrec 0.1.0."""
    old = directory / first_format.FILE
    return old if old.exists() and not (directory / MODEL_FILE).exists() else directory / MODEL_FILE


def load_params(directory: Path) -> dict[str, Any]:
    """The parameters alone, see `load`."""
    return load(directory)[0]


def load_extra(directory: Path) -> dict[str, Any]:
    """What was saved beside the parameters, see `load`."""
    return load(directory)[1]


def _mapped(path: Path) -> dict[str, np.ndarray]:
    """Name → array, each a view of the file.

    By hand, because safetensors' own reader for NumPy holds an array twice in memory while it reads it: 1.1 GB for a
    matrix of 0.55 GB, where a view holds nothing.
    """
    with safe_open(path, framework="np"):  # checks header, offsets and length
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


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _system_error(error: SafetensorError) -> OSError:
    """The error of the operating system that safetensors reports in words, such as "... (os error 28)"."""
    found = re.search(r"os error (\d+)", str(error))
    number = int(found[1]) if found else errno.EIO
    return OSError(number, os.strerror(number) if found else str(error))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is read into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(
            f"There is no file {path}; check the path, or train the model that should be there."
        ) from error
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # damaged files raise nearly anything: SafetensorError, BadZipFile, EOFError, KeyError …
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
