"""User-provided files (`data=files`): CSV, TSV, atomic (.inter) and Parquet, one file or already split."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt

from jaxrec.data.filters import Duplicates, filtered
from jaxrec.data.id_checks import few_matched
from jaxrec.data.ids import canonical, texts
from jaxrec.data.interactions import Interactions, encode
from jaxrec.data.notes import nonzero
from jaxrec.data.reading import tables
from jaxrec.data.reading.anonymous import filter_anonymous
from jaxrec.data.reading.decimals import Decimal
from jaxrec.data.reading.events import apply_events
from jaxrec.data.reading.feature_files import Columns, read_features
from jaxrec.data.reading.file_rows import FileRows
from jaxrec.data.reading.labels import positive_rows, with_negatives
from jaxrec.data.reading.propensities import inverse_propensity_weights, parse_positions
from jaxrec.data.reading.quantities import Quantity, QuantityAs, apply_quantity
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
    if event_column is None and (events, target_event, event_weights) != (None, None, None):
        raise InputError("data.events, data.target_event and data.event_weights need data.event_column=COLUMN")
    columns = _columns(
        user=user_column,
        item=item_column,
        value=value_column,
        time=time_column,
        event=event_column,
        label=label_column,
        position=position_column,
    )
    paths = _paths(path, train, validation, test, k_core)
    train_only = ("data.label_column", "data.position_column") if label_column is not None else ()
    rows = FileRows([*paths.values()], columns, train_only, delimiter, encoding, decimal)
    can_be_negative = negative == "keep" or min_value is not None
    frame = rows.frame(can_be_negative=can_be_negative, may_miss=anonymous != "error")
    if path is None:
        frame["part"] = np.repeat(np.array(list(paths), np.int8), rows.sizes)
    names: tuple[str, ...] = ()
    notes: dict[str, int] = {}
    if event_column is not None:
        frame["event"] = rows.categories("data.event_column")
        frame, names, notes = apply_events(frame, rows.place, kept=events, target=target_event, weights=event_weights)
    if label_column is not None:
        frame, negatives, cut = _labeled(frame, rows, position_column is not None)
        notes |= cut
    elif position_column is not None:
        frame["position"] = parse_positions(*rows.column("data.position_column", frame))
    if anonymous != "error":
        frame, without_user = filter_anonymous(frame, anonymous)
        notes |= without_user
    if path is None:
        # All users may be new if other event types are their histories, all items may be new if they have features.
        kinds = [kind for kind, may_be_new in (("user", event_column), ("item", item_features)) if may_be_new is None]
        notes |= _parts_match(frame, paths, kinds)
    frame, filtered_out = filtered(frame, min_value=min_value, duplicates=duplicates, k_core=k_core)
    notes |= filtered_out
    feature_files = {
        kind: (tables.source(file), f"data.{kind}_column", id_column)
        for kind, file, id_column in (("user", user_features, user_column), ("item", item_features, item_column))
        if file is not None
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


def _columns(**names: str | None) -> dict[str, str]:
    """Return the names of the columns that are set, by setting."""
    columns = {f"data.{kind}_column": name for kind, name in names.items() if name is not None}
    if len(set(columns.values())) < len(columns):
        raise InputError(f"a column is used twice: {', '.join(f'{k}={v}' for k, v in columns.items())}")
    return columns


def _labeled(
    frame: pd.DataFrame, rows: FileRows, has_positions: bool
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Return positive rows, weighted by inverse propensity if their positions are known; negative rows; and notes."""
    labels = positive_rows(*rows.column("data.label_column", frame), len(frame))
    notes: dict[str, int] = {}
    if has_positions:
        positions = parse_positions(*rows.column("data.position_column", frame))
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
