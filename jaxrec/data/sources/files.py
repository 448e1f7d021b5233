"""User-provided files (`data=files`): CSV, TSV, atomic (.inter) and Parquet, one file or already split."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.ids import canonical, few_matched, texts
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.large_columns import spilled
from jaxrec.data.notes import nonzero
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import filter_anonymous
from jaxrec.data.reading.columns import ColumnReader, ids_of, joined_categories
from jaxrec.data.reading.decimals import Decimal, with_decimal_points
from jaxrec.data.reading.events import apply_events
from jaxrec.data.reading.feature_files import Columns, read_features
from jaxrec.data.reading.labels import positive_rows, with_negatives
from jaxrec.data.reading.propensities import inverse_propensity_weights, parse_positions
from jaxrec.data.reading.quantities import Quantity, QuantityAs, apply_quantity
from jaxrec.data.reading.times import Where, milliseconds
from jaxrec.data.reading.values import finite_values
from jaxrec.errors import InputError

PARTS = ("train", "validation", "test")


def files(
    path: str | Path | None = None,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    user_column: str = "user_id",
    item_column: str = "item_id",
    value_column: str | None = None,
    time_column: str | None = None,
    event_column: str | None = None,
    events: Sequence[str] | None = None,
    target_event: str | None = None,
    event_weights: Mapping[str, NonNegativeFloat] | None = None,
    label_column: str | None = None,
    position_column: str | None = None,
    delimiter: str | None = None,
    decimal: Decimal = ".",
    min_value: float | None = None,
    negative: Literal["error", "keep"] = "error",
    duplicates: Duplicates = "last",
    k_core: NonNegativeInt = 0,
    anonymous: Literal["error", "drop", "keep"] = "drop",
    quantity: Quantity = "raw",
    quantity_as: QuantityAs = "value",
    encoding: str = "utf-8",
    user_features: str | Path | None = None,
    item_features: str | Path | None = None,
    categorical: tuple[str, ...] = (),
    multi_valued: tuple[str, ...] = (),
    numerical: tuple[str, ...] = (),
    separator: Annotated[str, Field(min_length=1)] = "|",
    max_text: PositiveInt | None = None,
) -> Interactions:
    """Read interactions from one file, or from train, test and optional validation files (see `Interactions.part`).

    Ids are converted as described in `jaxrec.data.ids`: 13085, "13085" and 13085.0 are equal.

    Args:
        path: .csv .tsv .inter (each also .gz or .zst) .parquet .pq, or a folder or pattern of Parquet files, which
            are read as one, in order of their names; from Python also a `tables.InMemory`. The same holds for train,
            validation, test and the features.
        train, validation, test: files of a split, instead of `path`.
        user_column, item_column, value_column: column names in the files.
        time_column: column of times; None: rows are in chronological order.
        event_column: column of event types, such as view and purchase.
        events, target_event, event_weights: names of events, see `apply_events`.
        label_column: 1 for positives, 0 for explicit negatives, see `reading.labels`; in `path` or `train`.
        position_column: ranks from 1 at which items were shown. With label_column, clicks (label 1) get inverse
            propensity weights, see `reading.propensities`; otherwise stored as `Interactions.position`.
        delimiter: one character, if not implied by the suffix.
        decimal: decimal separator of values, times and numerical features in text files, "." or ",".
        min_value, duplicates, k_core: see `filtered`.
        negative: treatment of values below 0 without min_value: error, or keep (for rating models).
        anonymous: treatment of rows whose user is missing, empty, -1 or similar (see `reading.anonymous`): drop, keep
            as one user, or error for missing and empty ids, with all others read as users.
        quantity, quantity_as: see `reading.quantities`.
        encoding: encoding of all text files, including features.
        user_features, item_features: files with an id column (named as above), one row per id, one column per feature.
        categorical, multi_valued, numerical, separator, max_text: see `feature_files.Columns`.

    Raises:
        InputError: something cannot be read; the message names the file, column and line.
    """
    optional = {
        "data.value_column": value_column,
        "data.time_column": time_column,
        "data.event_column": event_column,
        "data.label_column": label_column,
        "data.position_column": position_column,
    }
    columns = {"data.user_column": user_column, "data.item_column": item_column}
    columns |= {key: name for key, name in optional.items() if name is not None}
    if event_column is None and (events, target_event, event_weights) != (None, None, None):
        raise InputError("data.events, data.target_event and data.event_weights need data.event_column=COLUMN")
    if len(set(columns.values())) < len(columns):
        raise InputError(f"a column is used twice: {', '.join(f'{k}={v}' for k, v in columns.items())}")
    paths = _paths(path, train, validation, test, k_core)

    train_only = ("data.label_column", "data.position_column") if label_column is not None else ()
    unlabeled = {key: column for key, column in columns.items() if key not in train_only}
    columns_by_file = [columns, *[unlabeled] * (len(paths) - 1)]
    read = [
        ColumnReader(file, file_columns, delimiter, encoding)
        for file, file_columns in zip(paths.values(), columns_by_file, strict=True)
    ]
    wheres: list[Where] = [partial(tables.place, file, delimiter=delimiter) for file in paths.values()]
    can_be_negative = negative == "keep" or min_value is not None
    frame = _rows(read, wheres, columns, decimal, can_be_negative, may_miss=anonymous != "error")
    if path is None:
        frame["part"] = np.repeat(np.array(list(paths), np.int8), [len(table) for table in read])
    names: tuple[str, ...] = ()
    notes: dict[str, int] = {}
    where = partial(_place, wheres, np.cumsum([len(table) for table in read]))
    if event_column is not None:
        frame["event"] = joined_categories([t["data.event_column"].cast(pa.string()) for t in read])
        frame, names, notes = apply_events(frame, where, kept=events, target=target_event, weights=event_weights)
    if label_column is not None:
        frame, negatives, cut = _labeled(frame, read[:1], where, position_column is not None)
        notes |= cut
    elif position_column is not None:
        frame["position"] = parse_positions(*_of_kept(read, "data.position_column", frame, where))
    if anonymous != "error":
        frame, without_user = filter_anonymous(frame, anonymous)
        notes |= without_user
    if path is None:
        # All users may be new if other event types are their histories, all items may be new if they have features.
        kinds = [kind for kind, may_be_new in (("user", event_column), ("item", item_features)) if may_be_new is None]
        notes |= _parts_match(frame, paths, kinds)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    notes |= filtered_out
    id_columns = {
        "user": (user_features, "data.user_column", user_column),
        "item": (item_features, "data.item_column", item_column),
    }
    feature_files = {
        kind: (tables.source(f), key, name) for kind, (f, key, name) in id_columns.items() if f is not None
    }
    kinds_of_columns = Columns(categorical, multi_valued, numerical, separator, max_text)
    features, feature_notes = read_features(feature_files, kinds_of_columns, delimiter, encoding, decimal)
    for kind, (file, *_) in feature_files.items():
        notes |= feature_notes[kind] | _unmatched(kind, features[kind], frame, file, next(iter(paths.values())))
    frame = apply_quantity(frame, quantity, quantity_as)
    encoded = encode(
        frame,
        user_features=features.get("user"),
        item_features=features.get("item"),
        event_names=names,
        notes=notes,
        name=_name(paths[0], path is None),
    )
    return encoded if label_column is None else with_negatives(encoded, negatives)


def _rows(
    read: Sequence[ColumnReader],
    wheres: Sequence[Where],
    columns: Mapping[str, str],
    decimal: Decimal,
    can_be_negative: bool,
    *,
    may_miss: bool,
) -> pd.DataFrame:
    """Return the rows of all files: user and item ids, and values and times if their columns are set.

    Args:
        read: the files.
        wheres: maps a row of each file to its location, for error messages.
        columns: column names by setting.
        decimal: decimal separator of text.
        can_be_negative: whether values may be below 0.
        may_miss: whether rows without a user are kept, see `ids_of`.
    """
    arrays: dict[str, np.ndarray | pd.Categorical] = {
        "user_id": ids_of("data.user_column", columns["data.user_column"], read, wheres, may_miss),
        "item_id": ids_of("data.item_column", columns["data.item_column"], read, wheres),
    }
    files = list(zip(read, wheres, strict=True))
    if (key := "data.value_column") in columns:
        values = [finite_values(file[key], where, decimal, can_be_negative) for file, where in files]
        arrays["value"] = spilled(np.concatenate(values))
    if (key := "data.time_column") in columns:
        times = [milliseconds(with_decimal_points(file[key], decimal), where) for file, where in files]
        arrays["time"] = spilled(np.concatenate(times))
    return pd.DataFrame(arrays, copy=False)


def _labeled(
    frame: pd.DataFrame, read: Sequence[ColumnReader], where: Where, has_positions: bool
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Return positive rows, weighted by inverse propensity if their positions are known; negative rows; and notes."""
    labels = positive_rows(*_of_kept(read, "data.label_column", frame, where), len(frame))
    notes: dict[str, int] = {}
    if has_positions:
        positions = parse_positions(*_of_kept(read, "data.position_column", frame, where))
        n = len(positions)
        weights, notes = inverse_propensity_weights(frame.iloc[:n], positions, labels[:n])
        event_weight = frame["weight"].to_numpy() if "weight" in frame else np.ones(len(frame), np.float32)
        padding = np.ones(len(frame) - n, np.float32)
        frame["weight"] = event_weight * np.concatenate([weights, padding])
    return frame[labels], frame[~labels], notes


def _name(source: tables.Source, of_folder: bool) -> str:
    """Return the name of the data in reports: that of the file, or of the folder of a split."""
    if isinstance(source, tables.InMemory):
        return "frame"
    return (source.parent if of_folder else source).resolve().name.split(".")[0]


def _of_kept(
    read: Sequence[ColumnReader], key: str, frame: pd.DataFrame, where: Where
) -> tuple[pa.ChunkedArray, Callable[[int], str]]:
    """Return a column of the first files, restricted to the rows in the frame's index, and the location of each row."""
    columns = [table[key] for table in read]
    if len({column.type for column in columns}) > 1:
        columns = [column.cast(pa.string()) for column in columns]
    column = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
    rows = frame.index.to_numpy()
    rows = rows[rows < len(column)]
    return column.take(pa.array(rows)), lambda row: where(int(rows[row]))


def _unmatched(
    kind: str, features: pd.DataFrame, frame: pd.DataFrame, file: tables.Source, data: tables.Source
) -> dict[str, int]:
    """Count feature rows whose id does not occur, and ids without a feature row."""
    feature_ids, ids = (texts(canonical(f[f"{kind}_id"].unique())) for f in (features, frame))
    few = few_matched(feature_ids, ids, kind, _set_as(f"data.{kind}_features", file), str(data))
    missing = len(ids) - (n_matched := len(np.intersect1d(feature_ids, ids)))
    notes = {f"{kind}s of data.{kind}_features that never occur, dropped": len(feature_ids) - n_matched}
    notes[f"{kind}s without a row in data.{kind}_features, their features missing"] = missing
    return nonzero(notes) | few


def _parts_match(frame: pd.DataFrame, paths: Mapping[int, tables.Source], kinds: Sequence[str]) -> dict[str, int]:
    """Compare the ids of validation and test with those of earlier parts, see `few_matched`."""
    notes: dict[str, int] = {}
    part = frame["part"].to_numpy()
    for later, kind in ((later, kind) for later in list(paths)[1:] for kind in kinds):
        before, ids = (texts(canonical(frame[f"{kind}_id"][rows].unique())) for rows in (part < later, part == later))
        notes |= few_matched(before, ids, kind, str(paths[0]), _set_as(f"data.{PARTS[later]}", paths[later]))
    return notes


def _set_as(key: str, file: tables.Source) -> str:
    """Return `KEY=FILE` for messages; the name of a data frame has the key."""
    return str(file) if isinstance(file, tables.InMemory) else f"{key}={file}"


def _paths(
    path: str | Path | None,
    train: str | Path | None,
    validation: str | Path | None,
    test: str | Path | None,
    k_core: int,
) -> dict[int, tables.Source]:
    """Return the file of each part; a single file is part 0."""
    if path is not None:
        if (train, validation, test) != (None, None, None):
            raise InputError("data.path is one file to split: set it, or data.train and data.test, not both")
        return {0: tables.source(path)}
    if train is None or test is None:
        raise InputError("no data: set data.path=FILE, or data.train=FILE and data.test=FILE")
    if k_core:
        raise InputError(
            f"data.k_core={k_core} would drop test rows and thus change the given split: set data.k_core=0, or set "
            "data.path to one file and choose a split=…"
        )
    return {part: tables.source(file) for part, file in enumerate((train, validation, test)) if file is not None}


def _place(wheres: Sequence[Where], ends: np.ndarray, row: int) -> str:
    """Return the location of row `row` of the concatenated files."""
    file = int(np.searchsorted(ends, row, side="right"))
    return wheres[file](row - (int(ends[file - 1]) if file else 0))
