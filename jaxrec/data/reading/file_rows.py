"""Interaction files read as one table: ids, values and times, and other columns for the rows that are kept."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.large_columns import spilled
from jaxrec.data.reading import tables
from jaxrec.data.reading.columns import ColumnReader, ids_of, joined_categories
from jaxrec.data.reading.decimals import Decimal, with_decimal_points
from jaxrec.data.reading.times import Where, milliseconds
from jaxrec.data.reading.values import finite_values


class FileRows:
    """Rows of several files, one file after another.

    Args:
        files: the files.
        columns: column names by setting.
        only_first: settings of the columns that only the first file has.
        delimiter, encoding, decimal: see `jaxrec.data.sources.files.files`.
    """

    def __init__(
        self,
        files: Sequence[tables.Source],
        columns: Mapping[str, str],
        only_first: Collection[str],
        delimiter: str | None,
        encoding: str,
        decimal: Decimal,
    ) -> None:
        shared = {key: name for key, name in columns.items() if key not in only_first}
        self._columns, self._decimal, self._n_files = columns, decimal, dict.fromkeys(only_first, 1)
        self._readers = [
            ColumnReader(file, shared if n else columns, delimiter, encoding) for n, file in enumerate(files)
        ]
        self._places: list[Where] = [partial(tables.place, file, delimiter=delimiter) for file in files]

    @cached_property
    def sizes(self) -> list[int]:
        """Number of rows of each file."""
        return [len(reader) for reader in self._readers]

    def place(self, row: int) -> str:
        """Return the location of a row."""
        ends = np.cumsum(self.sizes)
        file = int(np.searchsorted(ends, row, side="right"))
        return self._places[file](row - (int(ends[file - 1]) if file else 0))

    def frame(self, *, can_be_negative: bool, may_miss: bool) -> pd.DataFrame:
        """Return user and item ids, and values and times if their columns are set.

        Args:
            can_be_negative: whether values may be below 0.
            may_miss: whether rows without a user are kept, see `ids_of`.
        """
        user, item = (self._columns[key] for key in ("data.user_column", "data.item_column"))
        arrays: dict[str, np.ndarray | pd.Categorical] = {
            "user_id": ids_of("data.user_column", user, self._readers, self._places, may_miss),
            "item_id": ids_of("data.item_column", item, self._readers, self._places),
        }
        files = list(zip(self._readers, self._places, strict=True))
        if (key := "data.value_column") in self._columns:
            values = [finite_values(file[key], where, self._decimal, can_be_negative) for file, where in files]
            arrays["value"] = spilled(np.concatenate(values))
        if (key := "data.time_column") in self._columns:
            times = [milliseconds(with_decimal_points(file[key], self._decimal), where) for file, where in files]
            arrays["time"] = spilled(np.concatenate(times))
        return pd.DataFrame(arrays, copy=False)

    def categories(self, key: str) -> pd.Categorical:
        """Return a column of text as categories."""
        return joined_categories([reader[key].cast(pa.string()) for reader in self._readers])

    def column(self, key: str, frame: pd.DataFrame) -> tuple[pa.ChunkedArray, Callable[[int], str]]:
        """Return a column for the rows in the frame's index, and the location of each; of the files that have it."""
        columns = [reader[key] for reader in self._readers[: self._n_files.get(key)]]
        if len({column.type for column in columns}) > 1:
            columns = [column.cast(pa.string()) for column in columns]
        column = pa.chunked_array([chunk for column in columns for chunk in column.chunks], columns[0].type)
        rows = frame.index.to_numpy()
        rows = rows[rows < len(column)]
        return column.take(pa.array(rows)), lambda row: self.place(int(rows[row]))
