"""The two files of a saved model, which load without pickle.

`model.json` holds the format version, the model description and all JSON values. `params.safetensors` holds arrays:
parameters, named by their keys joined with "/", and other arrays such as ids as "@NAME". Strings are stored as the
bytes of a JSON list. `model.json` is written last and contains digests of the arrays and of itself, so that parameters
are never combined with the ids of another run, and a damaged file is an error.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import empty_node, flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxrec import legacy_format
from jaxrec.atomic_files import read_json, reading, remove_stale, write_atomic, write_text
from jaxrec.errors import InputError
from jaxrec.models.model import Params

MODEL_FILE = "model.json"
PARAMS_FILE = "params.safetensors"
FORMAT = 2

Extra = dict[str, Any]  # arrays and JSON values stored with the parameters, by name

DTYPES = {"BOOL": "?", **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IUFC" for size in (1, 2, 4, 8)}}


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
    for name, value in legacy_format.with_public_name(dict(extra or {})).items():
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
    (directory / legacy_format.FILE).unlink(missing_ok=True)
    remove_stale(directory.glob(".tmp??????"))  # of `save_file`


def load(directory: Path) -> tuple[Params, Extra]:
    """Load nested parameters and `extra`, as passed to `save_params`.

    Parameters are memory-mapped, so they are copied only once, to the device.

    Raises:
        InputError: a file is missing, truncated, damaged or of a later version.
    """
    file = model_file(directory)
    if file.name == legacy_format.FILE:
        with reading(file):
            return legacy_format.read(file)
    path = directory / PARAMS_FILE
    about = read_json(file)
    with reading(file):
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
    with reading(path):
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
    old = directory / legacy_format.FILE
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
        raise ValueError("an array of strings has other values")
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
