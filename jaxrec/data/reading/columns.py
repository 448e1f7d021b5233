"""Columns of interaction files: read one at a time where the format allows, and ids as codes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from jaxrec.data.id_checks import check_distinct
from jaxrec.data.ids import exact
from jaxrec.data.large_columns import gathered, spilled
from jaxrec.data.reading import parquet, tables
from jaxrec.data.reading.anonymous import mark_anonymous
from jaxrec.data.reading.times import Where
from jaxrec.errors import InputError


class ColumnReader:
    """Columns of a source by config key, each with one number, date or text per row.

    Columns of Parquet files are read when they are used, one at a time, to save memory; text files are read at once.

    Args:
        source: the file or table.
        columns: config key → column name, see `tables.read`.
        delimiter: of a text file.
        encoding: of a text file.

    Raises:
        InputError: as `tables.read`, also when a column is used.
    """

    def __init__(self, source: tables.Source, columns: Mapping[str, str], delimiter: str | None, encoding: str) -> None:
        self._source, self._columns = source, columns
        self._table: pa.Table | None = None
        if not isinstance(source, Path) or not parquet.is_parquet(source):
            self._table = tables.read(source, columns, delimiter, encoding)
            return
        header = tables.header(source)
        for key, name in columns.items():
            tables.position(source, header, key, name)

    def __len__(self) -> int:
        if self._table is not None:
            return len(self._table)
        assert isinstance(self._source, Path)
        return parquet.n_rows(self._source)

    def __getitem__(self, key: str) -> pa.ChunkedArray:
        table = tables.read(self._source, {key: self._columns[key]}) if self._table is None else self._table
        return tables.scalars(table[key], key, self._columns[key])


def ids_of(
    key: str, name: str, read: Sequence[ColumnReader | pa.Table], wheres: Sequence[Where], may_miss: bool = False
) -> pd.Categorical:
    """Concatenate the ids of several files into one categorical column; each distinct id is processed once.

    Args:
        key: config key that names the column.
        name: name of the column.
        read: the files, by config key.
        wheres: maps a row of each file to its location, for error messages.
        may_miss: whether missing and anonymous ids become the id -1, see `mark_anonymous`; else missing ids are an
            error.
    """
    coded = [_coded(key, name, table[key], where, may_miss) for table, where in zip(read, wheres, strict=True)]
    kind = pa.int64() if all(ids.type == pa.int64() for _, ids in coded) else pa.string()
    # Ids may be equal in several files, and after conversion, as "7" and "7.0" are.
    all_ids = joined_categories([ids.cast(kind) for _, ids in coded])
    check_distinct(pa.array(all_ids.categories, kind), f"{key}={name}")
    ends = np.cumsum([len(ids) for _, ids in coded])
    codes = [
        gathered(all_ids.codes[end - len(ids) : end].astype(np.int32), rows)
        for (rows, ids), end in zip(coded, ends, strict=True)
    ]
    joined = codes[0] if len(codes) == 1 else np.concatenate(codes)
    return pd.Categorical.from_codes(spilled(joined), dtype=all_ids.dtype, validate=False)


def _coded(
    key: str, name: str, column: pa.ChunkedArray, where: Where, may_miss: bool
) -> tuple[np.ndarray, pa.ChunkedArray]:
    """Return a code per row, int32, and the id of each code."""
    encoded = column.dictionary_encode().combine_chunks()
    codes, distinct, missing = encoded.indices, encoded.dictionary, encoded.indices.null_count
    if missing:  # one more id
        codes = codes.fill_null(len(distinct))
        distinct = pa.concat_arrays([distinct, pa.nulls(1, distinct.type)])
    rows = codes.to_numpy()

    def first(code: int) -> str:
        return where(int(np.flatnonzero(rows == code)[0]))

    ids = exact(pa.chunked_array([distinct]), f"{key}={name}", first)
    ids = mark_anonymous(ids) if may_miss else ids
    if missing and ids.null_count:
        raise InputError(
            f"{key}={name}: {missing:,} rows have no id, first in {first(len(distinct) - 1)}: drop or fill them"
            + (", or set data.anonymous=drop or keep" if key == "data.user_column" else "")
        )
    return rows, ids


def joined_categories(columns: Sequence[pa.ChunkedArray]) -> pd.Categorical:
    """Concatenate columns of one type; nulls have no category."""
    chunks = [chunk for column in columns for chunk in column.chunks]
    codes = pa.chunked_array(chunks, columns[0].type).dictionary_encode().combine_chunks()
    indices = codes.indices.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(indices, codes.dictionary.to_numpy(zero_copy_only=False))
