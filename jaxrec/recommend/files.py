"""Batch recommendation of a run to a file or the terminal, for known users or histories of new users."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from jaxrec.atomic_files import write_atomic
from jaxrec.blockwise import slices
from jaxrec.command_line import advice
from jaxrec.data.histories import NO_TIME
from jaxrec.data.ids import as_array, canonical, exact, texts, written_as
from jaxrec.data.reading import tables
from jaxrec.errors import InputError
from jaxrec.recommend.history_columns import milliseconds_of
from jaxrec.recommend.recommender import Recommender, Unknown, load

USERS_AT_A_TIME = 1 << 15  # users whose lists are in memory at once
SHOWN = 200  # maximum rows on a terminal
TYPES = {  # Arrow types of the columns that are not ids
    **dict.fromkeys(("source", "title", "categories"), pa.string()),
    "score": pa.float32(),
    "rank": pa.int64(),
}
SUFFIXES = (".parquet", ".pq", ".csv")


class ListOptions(NamedTuple):
    """The arguments of `Recommender.recommend` after the users."""

    k: int
    exclude_seen: bool
    unknown: Unknown


def recommend(
    run: str,
    users: tuple[int | str | float, ...] | str | int | None = None,
    history: tuple[int | str | float, ...] | None = None,
    histories: str | None = None,
    k: int = 10,
    out: str | None = None,
    exclude_seen: bool = True,
    unknown: Unknown = "error",
    user_column: str = "user_id",
    item_column: str = "item_id",
    event_column: str | None = None,
    time_column: str | None = None,
    value_column: str | None = None,
) -> tuple[int, pd.DataFrame | None]:
    """Write recommendations to the file `out`, or return the first rows if `out` is None.

    Exactly one of `users`, `history` and `histories` must be given; see conf/recommend.yaml. Columns are user_id (or
    history, its index), item_id, score, rank; `source` if a list may come from popularity; title and categories if
    the run has them.

    Args:
        run: a run directory.
        users: user ids or one number, "all", or a file of ids.
        history: item ids of one new user, oldest first.
        histories: a file of users and items, one row per event, oldest first.
        k: list length.
        out: a .parquet, .pq or .csv file, written atomically; None: return a table.
        exclude_seen: filter items of the user's history.
        unknown: "error", or "popularity" to return the most popular items for unknown users.
        user_column: user column of a file.
        item_column: item column of a file.
        event_column, time_column, value_column: further columns of `histories`, for a model that reads them.

    Returns:
        The number of rows, and the first rows if `out` is None.

    Raises:
        InputError: invalid arguments, unknown ids or unreadable files; nothing is written.
    """
    queries = {"users": users, "history": history, "histories": histories}
    if len(keys := [key for key, value in queries.items() if value is not None]) != 1:
        raise InputError(
            f"{' and '.join(keys) or 'no users'} given: set exactly one of 'users=[196,22]', users=all, users=FILE, "
            "'history=[50,181]' and histories=FILE"
        )
    if out is not None:
        writer_of(Path(out))
    model = load(run)
    options = ListOptions(k, exclude_seen, unknown)
    if users is not None:
        names = _user_ids(model, (users,) if isinstance(users, int) else users, user_column)
        blocks = _of_users(model, names, options)
    elif history is not None:
        names, items = np.zeros(1, np.int64), canonical(history, "history")
        blocks = _of_histories(model, "history", names, [items], {}, options)
    else:
        columns = {"event_types": event_column, "times": time_column, "values": value_column}
        named = {name: column for name, column in columns.items() if column is not None}
        names, lists, known = _lists(str(histories), user_column, item_column, named)
        blocks = _of_histories(model, "user_id", names, lists, known, options)
    if out is None:
        frame = pd.concat([_labeled(model, block) for block in blocks], ignore_index=True)
        return len(frame), frame.head(SHOWN)
    types = {"user_id": type_of(names), "history": pa.int64(), "item_id": type_of(model.item_ids), **TYPES}
    return _write(Path(out), (_labeled(model, block) for block in blocks), types), None


def type_of(ids: np.ndarray) -> pa.DataType:
    """Return the Arrow type of ids: integers if all of them are, else text."""
    whole = ids.dtype.kind in "iu" or all(isinstance(i, int | np.integer) for i in ids.tolist())
    return pa.int64() if whole else pa.string()


def writer_of(out: Path) -> type[pa.csv.CSVWriter] | type[pa.parquet.ParquetWriter]:
    """Return Arrow's writer for the suffix of a file; raise an InputError for other suffixes."""
    if (suffix := out.suffix.lower()) not in SUFFIXES:
        raise InputError(f"out={out}: the suffix must be {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    return pa.csv.CSVWriter if suffix == ".csv" else pa.parquet.ParquetWriter


def _write(out: Path, blocks: Iterator[pd.DataFrame], types: Mapping[str, pa.DataType]) -> int:
    """Write frames with the same columns (at least one) to a file; return the number of rows."""
    rows = 0

    def write(temporary: Path) -> None:
        nonlocal rows
        temporary.touch()  # fail before any work if the file cannot be written
        first = next(blocks)
        schema = pa.schema([(name, types[name]) for name in map(str, first)])
        with writer_of(out)(str(temporary), schema) as writer:
            for frame in chain([first], blocks):
                writer.write_table(
                    pa.Table.from_arrays([_column(frame[f.name], f.type) for f in schema], schema=schema)
                )
                rows += len(frame)

    write_atomic(out, write)
    return rows


def _column(values: pd.Series, kind: pa.DataType) -> pa.Array:
    """Convert a frame column to this Arrow type."""
    plain = values.tolist()
    return pa.array(map(str, plain) if kind == pa.string() else plain, kind)


def _user_ids(model: Recommender, users: tuple[int | str | float, ...] | str, column: str) -> np.ndarray:
    """Return the ids selected by `users`."""
    if users == "all":
        return model.user_ids
    if isinstance(users, str):
        (ids,) = _columns("users", users, user_column=column)
        return written_as(pd.unique(ids), model.user_ids)
    if not users:
        raise InputError("users=[] is empty: list user ids, or set users=all or users=FILE")
    return written_as(canonical(users, "users"), model.user_ids)


def _lists(
    path: str, user: str, item: str, columns: Mapping[str, str]
) -> tuple[np.ndarray, list[np.ndarray], dict[str, list[list[Any]]]]:
    """Return the users of a file in order of appearance, and the items and other columns of each, oldest first.

    Without a time for each row, the oldest row of a user is the first.
    """
    users, items = _columns("histories", path, user_column=user, item_column=item)
    owners, names = pd.factorize(users)
    ends = np.cumsum(np.bincount(owners))[:-1]
    read = tables.read(Path(path), dict(columns)) if columns else pa.table({})
    values = {name: tables.plain(read[name]).to_pylist() for name in columns}
    times = milliseconds_of(values["times"]) if "times" in columns else np.full(len(users), NO_TIME)
    order = np.lexsort((np.where((times == NO_TIME).any(), NO_TIME, times), owners))  # stable
    known = {name: [[column[row] for row in rows] for rows in np.split(order, ends)] for name, column in values.items()}
    return np.asarray(names), np.split(items[order], ends), known


def _of_users(model: Recommender, ids: np.ndarray, options: ListOptions) -> Iterator[pd.DataFrame]:
    for block in slices(len(ids), USERS_AT_A_TIME):
        frame = model.recommend(ids[block], *options)
        yield frame if ids.dtype == np.int64 else frame.assign(user_id=texts(frame["user_id"].to_numpy()))


def _of_histories(
    model: Recommender,
    key: str,
    names: np.ndarray,
    lists: list[np.ndarray],
    known: Mapping[str, list[list[Any]]],
    options: ListOptions,
) -> Iterator[pd.DataFrame]:
    for block in slices(len(lists), USERS_AT_A_TIME):
        of_block: dict[str, Any] = {name: columns[block] for name, columns in known.items()}
        frame = model.recommend_histories(lists[block], *options, **of_block)
        frame.insert(0, key, names[block][frame.pop("history")])
        yield frame


def _columns(setting: str, path: str, **columns: str) -> list[np.ndarray]:
    """Read the columns of the file in a setting; rows with missing values are an error."""
    if not Path(path).exists():
        ids = "" if setting == "histories" else f", or list ids, {advice(setting, [path])}"
        raise InputError(f"there is no file {path}: check {setting}=FILE{ids}")
    read = tables.read(Path(path), columns)
    arrays = [tables.plain(read[key]) for key in columns]
    for (key, name), column in zip(columns.items(), arrays, strict=True):
        if column.null_count:
            raise InputError(f"{path} has {column.null_count:,} rows without {name!r} ({key}): fill or drop them")
    return [
        as_array(exact(column, f"{key}={name}", partial(tables.place, Path(path))))
        for (key, name), column in zip(columns.items(), arrays, strict=True)
    ]


def _labeled(model: Recommender, frame: pd.DataFrame) -> pd.DataFrame:
    """Add titles and categories if the run has them."""
    at = model.positions_of_items(frame["item_id"])
    if model.titles is not None:
        frame["title"] = model.titles[at]
    if model.categories is not None:
        names = np.array(["|".join(model.categories.of(item)) for item in range(len(model.item_ids))], object)
        frame["categories"] = names[at]
    return frame
