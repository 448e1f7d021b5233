"""Points in time, as files write them, to int64 milliseconds since 1970."""

import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import InputError

DAY = 86_400_000  # milliseconds

# A number below 1e11 is in seconds (the year 5138), below 1e14 in milliseconds, and so on: the ranges of two units
# meet only in 1973, so data of one unit is read as such. Positions such as 0, 1, 2 are seconds and keep their order.
UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
LIMITS = np.array([1e11, 1e14, 1e17])

Where = Callable[[int], str]  # says where row i (from 0) stands: "line 12 of ratings.csv"


def milliseconds(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    """A column of times to int64 milliseconds [N]: dates, timestamps, numbers since 1970, or text of either kind.

    Time zones are converted to UTC, and times without one are taken as UTC. Raises InputError at missing or unreadable
    times and where numbers of two units are mixed, naming the row through `where`.
    """
    if column.null_count:
        raise InputError(
            f"{where(_first(pc.is_null(column)))} has no time: fill it, drop it, or set data.time_column=null"
        )
    if pa.types.is_temporal(column.type) and not pa.types.is_time(column.type):
        return _array(column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()))
    if pa.types.is_string(column.type):
        try:
            column = column.cast(pa.int64())
        except pa.ArrowInvalid:
            try:
                column = column.cast(pa.float64())
            except pa.ArrowInvalid:
                return _from_text(column, where)
    if pa.types.is_unsigned_integer(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.int64(), safe=False)
    return _from_numbers(_array(column), where)


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().to_numpy(zero_copy_only=False)


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, True).as_py())


def _from_numbers(numbers: np.ndarray, where: Where) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise InputError(f"{where(int(np.flatnonzero(~np.isfinite(numbers))[0]))} has a time that is not a number")
    if not len(numbers):
        return numbers.astype(np.int64)
    size = np.abs(numbers.astype(np.float64))
    low, high = int(size.argmin()), int(size.argmax())
    unit, other = np.searchsorted(LIMITS, [size[high], size[low]], side="right")
    if unit != other:
        raise InputError(
            f"times of two units: {where(low)} has {numbers[low]:.15g} ({UNITS[other]} since 1970) and {where(high)} "
            f"has {numbers[high]:.15g} ({UNITS[unit]}): write them all in one unit"
        )
    if unit == 0:
        return np.rint(numbers * 1e3).astype(np.int64) if numbers.dtype.kind == "f" else numbers.astype(np.int64) * 1000
    return np.floor_divide(numbers, 1000 ** (int(unit) - 1)).astype(np.int64)


def _from_text(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    # Piece by piece: pandas makes a Python string of each, and ten million of these take gigabytes.
    numbers = pd.concat([pd.to_numeric(piece.to_pandas(), errors="coerce") for piece in column.chunks])
    if numbers.notna().all():  # with blanks around them
        return _from_numbers(numbers.to_numpy(), where)
    time = _read(column, "ISO8601")
    if time.isna().any():
        time = _local(column, where)
    if time.isna().any():
        # The row to blame is the first that is not like most.
        unread = min(time.isna(), numbers.isna(), key=lambda missing: int(missing.sum()))
        row = int(np.flatnonzero(unread)[0])
        raise InputError(
            f"{where(row)} has a time that cannot be read, {column[row].as_py()!r}: write ISO dates such as "
            "2024-03-31T18:30:00 or numbers since 1970"
        )
    return time.to_numpy(dtype="datetime64[ms]").astype(np.int64)


def _read(column: pa.ChunkedArray, layout: str) -> pd.Series:
    """Times [N] of a text column in UTC, to the millisecond; missing where it is not laid out so."""
    pieces = [pd.to_datetime(p.to_pandas(), format=layout, utc=True, errors="coerce") for p in column.chunks]
    return pd.concat([piece.dt.as_unit("ms") for piece in pieces], ignore_index=True)


def _local(column: pa.ChunkedArray, where: Where) -> pd.Series:
    """Times written in one other format, guessed from the first; month and day in either order, if only one fits."""
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # "13/04/2015 is not month first": we know
        layouts = [pd.tseries.api.guess_datetime_format(column[0].as_py(), dayfirst=first) for first in (False, True)]
    readings = [_read(column, layout) for layout in layouts if layout is not None]
    if not readings:
        return _read(column, "ISO8601")
    one, other = readings[0], readings[-1]
    if one.notna().all() and other.notna().all() and (one != other).any():
        row = int(np.flatnonzero(one != other)[0])
        raise InputError(
            f"{where(row)} has the time {column[row].as_py()!r}: day or month first? Write ISO dates (2024-03-31)"
        )
    return max(readings, key=lambda reading: int(reading.notna().sum()))
