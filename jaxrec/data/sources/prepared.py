"""Disk cache of prepared interactions, keyed by files, settings and code."""

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import feather

from jaxrec.data.interactions import COLUMNS, Interactions
from jaxrec.data.properties import Properties
from jaxrec.data.sources.download import cache_dir, remove_abandoned
from jaxrec.errors import InputError

ABOUT = "about.json"
DATA = Path(__file__).parent.parent  # code whose changes invalidate the cache


def prepared(
    prepare: Callable[..., Interactions], files: Mapping[str, Path], settings: Mapping[str, object]
) -> Interactions:
    """Return `prepare(files, **settings)`, cached in `cache_dir()/prepared/KEY`.

    KEY is a digest of the file contents, the settings and the code of `jaxrec.data`. Safe for concurrent processes:
    folders are written elsewhere and moved atomically. Damaged entries are rebuilt. If the folder cannot be written or
    the data cannot be stored as tables, a message is printed and nothing is cached.

    Args:
        prepare: function that reads the data.
        files: files by the names that `prepare` expects; their location does not matter.
        settings: JSON-serializable keyword arguments.
    """
    folder = cache_dir() / "prepared" / _key(prepare, files, settings)
    if folder.exists():
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
            _say(f"{folder} is damaged ({error}): preparing the data again")
    data = prepare(files, **settings)
    try:
        _store(data, folder)
    except (OSError, pa.ArrowException) as error:
        _say(f"the prepared data cannot be cached in {folder} ({error}): set JAXREC_CACHE=FOLDER to another folder")
    return data


def _key(prepare: Callable[..., Interactions], files: Mapping[str, Path], settings: Mapping[str, object]) -> str:
    code = {str(path.relative_to(DATA)): path for path in sorted(DATA.rglob("*.py"))}
    with ThreadPoolExecutor(2) as pool:
        read, by = (dict(zip(each, pool.map(_file_digest, each.values()), strict=True)) for each in (files, code))
    about = [f"{prepare.__module__}.{prepare.__qualname__}", read, by, settings]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _store(data: Interactions, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(folder.parent.glob(".preparing-*"))
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".preparing-", ignore_cleanup_errors=True) as place:
        new, old = Path(place) / "new", Path(place) / "old"
        new.mkdir()
        _write(data, new)
        if folder.exists():  # damaged, or just written by another process
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process wrote the same content
                raise


def _write(data: Interactions, folder: Path) -> None:
    columns = {name: getattr(data, name) for name in COLUMNS}
    tables: dict[str, pd.DataFrame | None] = {
        "rows": pd.DataFrame({name: column for name, column in columns.items() if column is not None}),
        "user_ids": pd.DataFrame({"id": data.user_ids}),
        "item_ids": pd.DataFrame({"id": data.item_ids}),
        "user_features": data.user_features,
        "item_features": data.item_features,
    }
    about: dict[str, object] = {"name": data.name, "event_names": data.event_names, "notes": dict(data.notes)}
    if (known := data.properties) is not None:
        about |= {"properties": known.n_items, "of": [[name, table.index.name] for name, table in known.of.items()]}
        tables |= {"properties": known.values, "moments": pd.DataFrame({"item": known.item, "time": known.time})}
        tables |= {f"of_{i}": table.reset_index(names="") for i, table in enumerate(known.of.values())}
    digests: dict[str, str] = {}
    for name, table in tables.items():
        if table is not None:
            feather.write_feather(table, str(folder / name), compression="lz4")
            digests[name] = _file_digest(folder / name)
    (folder / ABOUT).write_text(json.dumps(about | {"digests": digests}, default=int))  # counts may be numpy integers


def _read(folder: Path) -> Interactions:
    about = json.loads((folder / ABOUT).read_text())
    if wrong := [name for name in about["digests"] if not name.isidentifier()]:  # not a file in this folder
        raise ValueError(f"{wrong[0]!r} is not the name of a table")
    tables = {name: _table(folder / name, digest) for name, digest in about["digests"].items()}
    known = None
    if "properties" in about:
        moments = tables["moments"]
        of = {name: tables[f"of_{i}"].set_index("").rename_axis(index) for i, (name, index) in enumerate(about["of"])}
        item, time = (moments[key].to_numpy() for key in ("item", "time"))
        known = Properties(about["properties"], item, time, tables["properties"], of)
    rows = tables["rows"]
    columns: dict[str, Any] = {n: rows[n].to_numpy() if n in rows else None for n in COLUMNS}
    return Interactions(
        **columns,
        user_ids=_ids(tables["user_ids"]["id"]),
        item_ids=_ids(tables["item_ids"]["id"]),
        user_features=tables.get("user_features"),
        item_features=tables.get("item_features"),
        properties=known,
        event_names=tuple(about["event_names"]),
        notes=about["notes"],
        name=about["name"],
    )


def _table(path: Path, digest: str) -> pd.DataFrame:
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path.name} is not what was written")
    table = feather.read_table(pa.BufferReader(content))
    frame = table.to_pandas()
    for field in table.schema:
        if pa.types.is_list(field.type):  # pandas would convert them to arrays
            values = table[field.name].to_pylist()
            frame[field.name] = pd.Series([np.nan if v is None else v for v in values], dtype=object)
    return frame


def _ids(column: pd.Series) -> np.ndarray:
    return column.to_numpy() if column.dtype == np.int64 else column.to_numpy(object)


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
