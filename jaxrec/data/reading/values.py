"""Values of interactions, such as ratings: conversion to numbers, with errors that name the row."""

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.reading.decimals import Decimal, hint, with_decimal_points
from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError


def finite_values(column: pa.ChunkedArray, where: Where, decimal: Decimal, negative: bool) -> np.ndarray:
    """Convert a column of values to float32 [N].

    Args:
        column: numbers, or text that contains numbers.
        where: maps a row to its location, for error messages.
        decimal: decimal separator of text.
        negative: whether negative values are allowed.

    Raises:
        InputError: a value is missing, not a finite number, or negative and `negative` is False.
    """
    original, column = column, with_decimal_points(column, decimal)
    try:
        values = column.cast(pa.float32(), safe=False).combine_chunks().to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        # Slower but lenient (surrounding blanks), and locates invalid rows.
        values = pd.to_numeric(column.to_pandas(), errors="coerce").to_numpy(np.float32)
    except pa.ArrowNotImplementedError as error:
        raise InputError(f"data.value_column has the type {column.type}, not numbers: name another column") from error
    broken = np.flatnonzero(~np.isfinite(values))
    if len(broken):
        row = int(broken[0])
        value = original[row].as_py()
        what = "no value" if value is None else f"the value {value!r}, not a finite number"
        advice = hint(value, decimal)
        raise InputError(f"data.value_column: {where(row)} has {what}: fix or drop {len(broken):,} such rows{advice}")
    below = np.flatnonzero(values < 0)
    if len(below) and not negative:
        row = int(below[0])
        raise InputError(
            f"data.value_column: {where(row)} has the negative value {values[row]:g} ({len(below):,} such rows): "
            "drop them, e.g. with data.min_value=1, or set data.negative=keep"
        )
    return values
