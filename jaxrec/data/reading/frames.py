"""Data frames from Python, read like files: a column is converted to Arrow when it is used."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.errors import InputError

# Exceptions of columns that Arrow has no type for: Arrow's own, integers beyond 64 bits, and text that is not Unicode.
WITHOUT_TYPE = (pa.ArrowException, OverflowError, UnicodeEncodeError)
SUPPORTED = "pass a path, or a pandas, polars or pyarrow table"


@dataclass(frozen=True, eq=False)
class InMemory:
    """A table in memory that can be read like a file.

    Attributes:
        table: the data.
        name: name of the table in messages.
    """

    table: pa.Table | pd.DataFrame
    name: str = "the data frame"

    def __str__(self) -> str:
        return self.name

    def __len__(self) -> int:
        return len(self.table)

    @property
    def column_names(self) -> list[str]:
        """Names of the columns, as text."""
        return [str(name) for name in self.table.columns] if self._is_pandas else list(self.table.column_names)

    @property
    def index_names(self) -> list[str]:
        """Names of the levels of the index, as text; empty for a table without one."""
        return [str(name) for name in self.table.index.names] if isinstance(self.table, pd.DataFrame) else []

    def columns(self, names: Sequence[str], positions: Sequence[int]) -> pa.Table:
        """Return the columns at these positions under other names."""
        return pa.table({name: self._column(at) for name, at in zip(names, positions, strict=True)})

    @property
    def _is_pandas(self) -> bool:
        return isinstance(self.table, pd.DataFrame)

    def _column(self, at: int) -> pa.Array | pa.ChunkedArray:
        if not isinstance(self.table, pd.DataFrame):
            return self.table.column(at)
        column = self.table.iloc[:, at]
        if isinstance(column.dtype, pd.SparseDtype):
            column = pd.Series(np.asarray(column), name=column.name)
        try:
            return pa.array(column, from_pandas=True)
        except WITHOUT_TYPE as error:
            raise InputError(self._without_type(column, error)) from None

    def _without_type(self, column: pd.Series, error: Exception) -> str:
        kinds = sorted({type(value).__name__ for value in column.dropna()})
        convert = f"frame[{column.name!r}] = frame[{column.name!r}]"
        if len(kinds) > 1:
            what, fix = f"mixes types ({', '.join(kinds)}): convert it to one", f"{convert}.astype(str)"
        elif isinstance(error, OverflowError):
            what, fix = "contains integers of more than 64 bits: convert them to text", f"{convert}.astype(str)"
        elif isinstance(error, UnicodeEncodeError):
            what = f"contains text that is not Unicode ({error.object!r}): replace it"
            fix = f"{convert}.map(lambda text: text.encode(errors='replace').decode())"
        else:
            what = f"contains values of the type {', '.join(kinds)}: convert them to numbers, dates or text"
            fix = f"{convert}.astype(str)"
        return f"column {str(column.name)!r} of {self} {what}, {fix}"


def in_memory(frame: object, name: str = "the data frame") -> InMemory:
    """Wrap a data frame.

    Args:
        frame: a pandas data frame, or any table with the Arrow stream protocol (polars, pyarrow).
        name: name of the table in messages.

    Raises:
        InputError: the object is no table, or has a type that Arrow does not know.
    """
    if isinstance(frame, pd.DataFrame | pa.Table):
        return InMemory(frame, name)
    if hasattr(frame, "collect") and not hasattr(frame, "__arrow_c_stream__"):
        raise InputError(f"{type(frame).__name__} is not computed yet: pass frame.collect()")
    if not hasattr(frame, "__arrow_c_stream__") or isinstance(frame, pd.Series):
        raise InputError(f"{type(frame).__name__} is not a supported data type: {SUPPORTED}")
    try:
        return InMemory(pa.table(frame), name)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError) as error:
        raise InputError(
            f"{type(frame).__name__} cannot be read as an Arrow table ({error}): {SUPPORTED}, with columns of numbers, "
            "dates or text"
        ) from error
