"""Columns of histories besides items, e.g. event types and times, for models with `Model.history_columns`."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from jaxrec.data.histories import NO_TIME, UserHistories, gaps, hours
from jaxrec.data.reading.times import WITHOUT, milliseconds
from jaxrec.errors import InputError, first_line
from jaxrec.history import UNKNOWN

Columns = Mapping[str, np.ndarray]
Entry = TypeVar("Entry")
DTYPES = {"event": np.int32, "gap": np.float32, "value": np.float32, "hour": np.int32}


def described(
    offsets: np.ndarray,
    items: np.ndarray,
    event: np.ndarray | None = None,
    time: np.ndarray | None = None,
    value: np.ndarray | None = None,
) -> UserHistories:
    """Return histories whose gaps follow from their times; unknown are event -1, time `NO_TIME` and value NaN."""
    gap = None if time is None else gaps(offsets, time)
    return UserHistories(offsets, items, event, gap, value, time=time)


def windows(
    known: UserHistories, names: Sequence[str], start: np.ndarray, end: np.ndarray, length: int
) -> dict[str, np.ndarray]:
    """Return columns of the latest `length` entries of each range `start .. end`, left-padded as if unknown."""
    return {n: latest(_column(known, n), start, end, length, UNKNOWN[n]).astype(DTYPES[n]) for n in names}


def latest(
    column: np.ndarray | None, start: np.ndarray, end: np.ndarray, length: int, padding: float = -1
) -> np.ndarray:
    """Return the latest `length` entries of a column in each range, left-padded.

    Args:
        column: the column; None or empty: padding only.
        start, end: the ranges.
        length: number of entries of each range.
        padding: value of missing entries.
    """
    at = end[:, None] - np.arange(length, 0, -1)[None, :]
    if column is None or not len(column):
        return np.full(at.shape, padding)
    inside = at >= start[:, None]
    return np.where(inside, column[np.where(inside, at, 0)], padding)


def entries(known: UserHistories, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of all entries of one history."""
    n = len(known.items)
    return {name: column[0] for name, column in windows(known, names, np.zeros(1, int), np.array([n]), n).items()}


def completed(columns: Columns, names: Sequence[str], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the columns that a model reads; those not given are unknown."""
    given = {name: columns[name] for name in names if name in columns}
    return {name: np.asarray(given.get(name, np.full(shape, UNKNOWN[name])), DTYPES[name]) for name in names}


def padded(columns: Sequence[Columns], names: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Return left-padded columns of several histories."""
    rows = {name: np.full((len(columns), length), UNKNOWN[name], DTYPES[name]) for name in names}
    for name, table in rows.items():
        for row, of_row in zip(table, columns, strict=True):
            own = of_row.get(name, ())
            row[length - len(own) :] = own
    return rows


def flat(
    lengths: list[int],
    event_types: Sequence[Sequence[str | None]] | None,
    times: Sequence[Sequence[object]] | None,
    values: Sequence[Sequence[float | None]] | None,
    event_names: Sequence[str],
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return event codes, times and values of all entries of several histories; None for those not given.

    Raises:
        InputError: there are more or fewer entries than `lengths`, or an entry is not valid.
    """

    def joined(name: str, lists: Sequence[Sequence[Entry]]) -> list[Entry]:
        if [len(entries) for entries in lists] != lengths:
            raise InputError(f"{name} must have one entry for each item of each history")
        return [entry for own in lists for entry in own]

    event = None if event_types is None else codes(joined("event_types", event_types), event_names, "event_types")
    time = None if times is None else milliseconds_of(joined("times", times))
    if time is not None:
        check_order(time, lengths)
    value = None
    if values is not None:
        value = numbers_of(joined("values", values))
    return event, time, value


def check_order(time: np.ndarray, lengths: Sequence[int]) -> None:
    """Raise an InputError unless the known times of each history are in order."""
    owner, known = np.repeat(np.arange(len(lengths)), lengths), time != NO_TIME
    owner, time = owner[known], time[known]
    back = (np.diff(time) < 0) & (np.diff(owner) == 0)
    if back.any():
        raise InputError(f"times of history {owner[back.argmax()]} decrease: list the items of a history oldest first")


def numbers_of(entries: Sequence[Any]) -> np.ndarray:
    """Return values as float32, NaN for None. Raises an InputError for an entry that is not a finite number."""
    numbers = np.full(len(entries), np.nan, np.float32)
    for row, entry in enumerate(entries):
        if entry is not None:
            try:
                with np.errstate(over="ignore"):  # too large for 32 bits becomes infinite
                    numbers[row] = entry
            except (TypeError, ValueError, OverflowError):
                numbers[row] = np.inf
            if np.isinf(numbers[row]):
                raise InputError(f"values: entry {row + 1} is {entry!r}, not a finite number")
    return numbers


def codes(types: Sequence[str | None], names: Sequence[str], where: str) -> np.ndarray:
    """Return codes of event types; -1 for None. Raises an InputError for a type that is not in the data of the run."""
    place = {name: code for code, name in enumerate(names)}
    if unknown := [name for name in types if name is not None and name not in place]:
        known = ", ".join(names) or "none: the model does not read them"
        raise InputError(f"{where}: event type {unknown[0]!r} is not in this run; its event types are {known}")
    return np.array([-1 if name is None else place[name] for name in types], np.int32)


def milliseconds_of(entries: Sequence[object]) -> np.ndarray:
    """Return times in milliseconds, read as in data files; None is unknown. Raises an InputError for other values."""
    known = np.array([entry is not None for entry in entries], bool)
    found = np.full(len(entries), NO_TIME, np.int64)
    if known.any():
        try:
            column = pa.chunked_array([pa.array([entry for entry in entries if entry is not None])])
        except pa.ArrowException as error:
            raise InputError(f"times are not all of one type: {first_line(error)}") from error
        try:
            found[known] = milliseconds(column, lambda row: f"entry {row + 1} of times")
        except InputError as error:
            raise InputError(str(error).removesuffix(WITHOUT)) from None
    return found


def _column(known: UserHistories, name: str) -> np.ndarray | None:
    if name == "hour":
        return None if known.time is None else np.where(known.time == NO_TIME, -1, hours(known.time))
    column: np.ndarray | None = getattr(known, name)
    return column
