"""Values of feature columns: detection of lists and numbers, and conversion to text or floats."""

import numpy as np
import pandas as pd
from pandas.api import types

from jaxrec.errors import InputError


def is_lists(column: pd.Series) -> bool:
    """Return whether the first known value of a column is a list."""
    return types.is_list_like(column[column.notna()].iloc[0])


def is_numerical(column: pd.Series) -> bool:
    """Return whether a column has numbers or dates, not categories."""
    if types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype):
        return False
    if types.is_numeric_dtype(column) or types.is_datetime64_any_dtype(column):
        return True
    kind = types.infer_dtype(column, skipna=True)
    return kind in ("integer", "floating", "mixed-integer-float", "decimal", "date", "datetime")


def as_text(column: pd.Series, max_text: int) -> pd.Series:
    """Return values as text of at most `max_text` characters, missing where missing or empty; 7.0 becomes "7"."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        names = as_text(pd.Series(column.cat.categories), max_text)
        return names.reindex(column.cat.codes).set_axis(column.index)  # missing values have code -1, not in the index
    column = column.infer_objects()
    text = column.astype(str)
    if types.is_float_dtype(column):  # integers with missing values are stored as floats
        text = text.str.removesuffix(".0")
    text = text.str.slice(0, max_text)
    return text.where(column.notna() & (text != ""))


def list_entries(column: pd.Series, max_text: int) -> tuple[np.ndarray, pd.Series]:
    """Flatten lists; return the row of each value, ascending, and the values as text."""
    entries = column.reset_index(drop=True).explode()
    return entries.index.to_numpy(), as_text(entries, max_text)


def as_floats(column: pd.Series) -> np.ndarray:
    """Return values as float64 [N], NaN where missing or infinite."""
    if types.infer_dtype(column, skipna=True) in ("date", "datetime", "datetime64"):
        try:  # microseconds, as nanoseconds end in 2262
            times = pd.to_datetime(column, utc=True).dt.as_unit("us")
        except pd.errors.OutOfBoundsDatetime as error:
            raise InputError(f"the feature {column.name!r} has a date that is out of range: {error}") from error
        days = (times - pd.Timestamp(0, tz="UTC").as_unit("us")) / pd.Timedelta(days=1).as_unit("us")
        return days.to_numpy(np.float64)
    try:
        values = pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(f"the feature {column.name!r} mixes numbers with other values: {error}") from error
    return np.where(np.isfinite(values), values, np.nan)
