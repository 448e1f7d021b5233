"""Parsing of time columns to int64 milliseconds since 1970."""

import warnings
from collections import Counter
from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import InputError

DAY = 86_400_000  # milliseconds

# A number below 4.2e9 is in seconds (until the year 2103), below 4.2e12 in milliseconds, and so on: the ranges of two
# units overlap only in the 49 days around 1970, so the unit is unambiguous, also before 1970. Positions such as 0, 1, 2
# are read as seconds and keep their order.
UNITS = ("seconds", "milliseconds", "microseconds", "nanoseconds")
LIMITS = np.array([4.2e9, 4.2e12, 4.2e15])
PER_MILLISECOND = {"ms": 1, "us": 1_000, "ns": 1_000_000}  # by unit of Arrow's timestamps

# Dates written as digits, 20240131, 202401311830 or 20240131183000: lowest, highest, and the digits to append
DIGITS = ((19_000_101, 21_001_231, "0000"), (190_001_010_000, 210_012_312_359, ""), (19e12, 21.01e12, None))
# Ranges in which a whole column is unlikely to be seconds since 1970, but ambiguous.
UNCLEAR = (
    (1_900, 2_100, "years"),
    (190_001, 210_012, "years and months"),
    (29_221, 65_380, "serial days of a spreadsheet (1980 to 2078), or seconds of a day"),
    (10_957, 29_220, "days since 1970 (2000 to 2050), or seconds of a day"),
    (719_163, 748_762, "days since the year 1 or 0 (1970 to 2050)"),
    (2_440_587, 2_469_808, "Julian days (1970 to 2050)"),
)
WITHOUT = ", or set data.time_column=null"  # end of messages about times that a data set may do without
RECENT = 631_152_000_000  # milliseconds: 1990
UNSET = (0, -1, -1000)  # milliseconds: 0 and -1 in any unit, which often stand for a missing time
YEARS = np.array(["1678", "2262"], "datetime64[Y]").astype("datetime64[ms]").astype(np.int64)  # range of ns

Where = Callable[[int], str]  # location of row i (from 0): "line 12 of ratings.csv"


def milliseconds(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    """Convert a column of times to int64 milliseconds [N].

    Time zones are converted to UTC, and times without one are read as UTC. Times are truncated to milliseconds.

    Args:
        column: dates, timestamps, numbers since 1970, or text of any of these.
        where: maps a row to its location, for error messages.

    Raises:
        InputError: a time is missing, unreadable or outside 1678 to 2261, or units or date formats are mixed; the
            message names the first row of the rarer kind.
    """
    if pa.types.is_string(column.type):
        column = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(column, ""), None, column)
    if column.null_count:
        raise InputError(f"{where(_first(pc.is_null(column)))} has no time: fill it, drop it{WITHOUT}")
    time = _read(column, where)
    if (far := np.flatnonzero((time < YEARS[0]) | (time >= YEARS[1]))).size:
        raise InputError(
            f"{where(int(far[0]))} has the time {column[int(far[0])].as_py()}, outside the years 1678 to 2261: correct "
            "it, or drop the row if it is a placeholder"
        )
    if len(time) and time.max() >= RECENT and (unset := np.flatnonzero(np.isin(time, UNSET))).size:
        row = int(unset[0])
        raise InputError(
            f"{where(row)} has the time {column[row].as_py()} ({unset.size:,} such rows), but others are after 1990: "
            f"correct or drop rows without a time{WITHOUT}"
        )
    return time


def _read(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    kind = column.type
    if pa.types.is_date(kind):
        return _array(column.cast(pa.timestamp("ms")).cast(pa.int64()))
    if pa.types.is_timestamp(kind):
        numbers = _array(column.cast(pa.int64()))
        if kind.unit != "s":
            return np.floor_divide(numbers, PER_MILLISECOND[kind.unit])
        return np.clip(numbers, -(10**15), 10**15) * 1_000  # out-of-range years must not overflow
    if pa.types.is_string(kind):
        for number in (pa.int64(), pa.float64()):
            try:
                return _from_numbers(_array(column.cast(number)), where)
            except pa.ArrowInvalid:
                continue
        return _from_text(column, where)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        try:
            column = column.cast(pa.int64())  # exact, also for nanoseconds
        except pa.ArrowInvalid:  # a fraction, or beyond int64
            column = column.cast(pa.float64())
        return _from_numbers(_array(column), where)
    raise InputError(
        f"data.time_column has the type {kind}, not times: name another column, or set data.time_column=null"
    )


def _array(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().to_numpy(zero_copy_only=False)


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, True).as_py())


def _from_numbers(numbers: np.ndarray, where: Where) -> np.ndarray:
    if not np.isfinite(numbers).all():
        raise InputError(f"{where(int(np.flatnonzero(~np.isfinite(numbers))[0]))} has a time that is not a number")
    if not len(numbers):
        return numbers.astype(np.int64)
    for low, high, rest in DIGITS:
        if np.mean((numbers >= low) & (numbers <= high)) > 0.5:
            return _from_digits(numbers, rest, where)
    for low, high, what in UNCLEAR:
        if numbers.min() >= low and numbers.max() <= high:
            raise InputError(
                f"the times, such as {numbers[0].item()} ({where(0)}), look like {what}: write ISO dates such as "
                f"2024-03-31T18:30:00 or seconds since 1970{WITHOUT}"
            )
    unit = _unit(numbers, where)
    if numbers.dtype.kind == "f":  # rounded to microseconds first, as 0.123 seconds may be stored as 0.122999999
        return np.floor_divide(np.rint(numbers * 1e6 / 1e3 ** float(unit)), 1e3).clip(-1e15, 1e15).astype(np.int64)
    return numbers.astype(np.int64) * 1000 if unit == 0 else np.floor_divide(numbers, 1000 ** (unit - 1))


def _unit(numbers: np.ndarray, where: Where) -> int:
    """Return the position in UNITS of the unit of all numbers; raises InputError if there are two."""
    low, high = (int(np.searchsorted(LIMITS, float(abs(end)), side="right")) for end in (numbers.min(), numbers.max()))
    if low == high and numbers.min() >= 0:  # saves memory for large columns
        return low
    units = np.searchsorted(LIMITS, np.abs(numbers.astype(np.float64)), side="right")
    counts = np.bincount(units)
    unit = len(counts) - 1 - int(counts[::-1].argmax())  # the most frequent unit, the finest one on ties
    if (odd := np.flatnonzero(units != unit)).size:
        usual, first = int(np.flatnonzero(units == unit)[0]), int(odd[0])
        raise InputError(
            f"times in two units: {where(first)} has {numbers[first].item()} ({UNITS[units[first]]} since 1970) and "
            f"{where(usual)} has {numbers[usual].item()} ({UNITS[unit]}): write all of them in one unit"
        )
    return unit


def _from_digits(numbers: np.ndarray, rest: str | None, where: Where) -> np.ndarray:
    """Convert numbers such as 20240131; `rest` is appended to get hours and minutes; None: they include seconds."""
    whole = numbers == np.floor(numbers)
    text = pd.Series(numbers.astype(np.int64).astype(str)) + (rest or "")
    layout = "%Y%m%d%H%M" + ("%S" if rest is None else "")
    size = 14 if rest is None else 12
    time = pd.to_datetime(text.where(whole & (text.str.len() == size)), format=layout, errors="coerce")
    if (odd := np.flatnonzero(time.isna())).size:
        raise InputError(
            f"{where(int(odd[0]))} has the time {numbers[odd[0]].item()}, which is not a date like most others "
            "(20240131 is January 31, 2024): write it in the same format"
        )
    return time.to_numpy("datetime64[ms]").astype(np.int64)


def _from_text(column: pa.ChunkedArray, where: Where) -> np.ndarray:
    # By chunk: pandas creates a Python string for each value, which takes gigabytes for ten million.
    numbers = pd.concat([pd.to_numeric(chunk.to_pandas(), errors="coerce") for chunk in column.chunks])
    iso = _laid_out(column, "ISO8601")
    readings = [iso, *_local(column, iso, where)] if iso.isna().any() else [iso]
    time = max(readings, key=lambda reading: int(reading.notna().sum()))
    if time.isna().any():
        # Report the first row that differs from the majority format.
        unread = min(time.isna(), numbers.isna(), key=lambda missing: int(missing.sum()))
        row = int(np.flatnonzero(unread)[0])
        raise InputError(
            f"{where(row)} has a time that cannot be read, {column[row].as_py()!r}: write ISO dates such as "
            "2024-03-31T18:30:00 or numbers since 1970"
        )
    return time.to_numpy(dtype="datetime64[ms]").astype(np.int64)


def _laid_out(column: pa.ChunkedArray, layout: str) -> pd.Series:
    """Parse a text column with one format to UTC times [N] in milliseconds; missing where the format does not match."""
    digits = pc.match_substring_regex(column, "[0-9]")
    column = pc.if_else(digits, column, None)  # pandas parses "now" and "today"
    parts = [pd.to_datetime(c.to_pandas(), format=layout, utc=True, errors="coerce") for c in column.chunks]
    return pd.concat([part.dt.floor("ms").dt.as_unit("ms") for part in parts], ignore_index=True)


def _day_before_month(layout: str) -> bool:
    """Return whether the day comes between year and month, which pandas reads into dates that do not exist."""
    return layout.startswith("%Y") and layout.find("%d") < layout.find("%m")


def _local(column: pa.ChunkedArray, iso: pd.Series, where: Where) -> list[pd.Series]:
    """Parse with the two most frequent formats guessed from the rows that are not ISO.

    The order of month and day is inferred; InputError if both orders fit all rows.
    """
    rows = np.flatnonzero(iso.isna())[:100]
    layouts: Counter[str] = Counter()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # both orders are tried on purpose
        for row in rows:
            guesses = {pd.tseries.api.guess_datetime_format(column[row].as_py(), dayfirst=d) for d in (False, True)}
            layouts.update(sorted(guess for guess in guesses if guess is not None and not _day_before_month(guess)))
    readings = [_laid_out(column, layout) for layout, _ in layouts.most_common(2)]
    complete = [reading for reading in readings if reading.notna().all()]
    if len(complete) == 2 and (ambiguous := np.flatnonzero(complete[0] != complete[1])).size:
        row = int(ambiguous[0])
        raise InputError(
            f"{where(row)} has the time {column[row].as_py()!r}: day or month first? Write ISO dates (2024-03-31)"
        )
    return readings
