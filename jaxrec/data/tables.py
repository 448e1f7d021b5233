"""The wanted columns of a text or Parquet file, as Arrow holds them; says what is wrong with a file that has none."""

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jaxrec.errors import InputError

ATOMIC = (".inter", ".user", ".item")
DELIMITERS = {".csv": ",", ".tsv": "\t", **dict.fromkeys(ATOMIC, "\t")}
PARQUET = (".parquet", ".pq")
PACKED = (".gz", ".zst")


def read(path: Path, columns: Mapping[str, str], delimiter: str | None = None) -> pa.Table:
    """The columns of a file: one a key of `columns`, which maps config keys (`data.user_column`) to names in the file.

    Text files give strings, whatever they look like; Parquet files give the types they have. A name matches before the
    colon of a header such as `user_id:token`. `delimiter` overrides the one that the suffix implies.
    Raises InputError, naming the file and what to do, for a file that is not there, not readable or lacks a column.
    """
    present(path)
    with _explained(path, delimiter):
        return _parquet(path, columns) if path.suffix.lower() in PARQUET else _text(path, columns, delimiter)


def header(path: Path, delimiter: str | None = None) -> list[str]:
    """The names of a file's columns, as they stand there (`user_id:token`)."""
    present(path)
    with _explained(path, delimiter):
        return (
            pq.read_schema(path).names if path.suffix.lower() in PARQUET else next(_rows(path, delimiter), (0, []))[1]
        )


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding, text as strings, and empty text or NaN as null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return pc.if_else(pc.equal(column, ""), None, column) if pa.types.is_string(column.type) else column


def place(path: Path, row: int, delimiter: str | None = None) -> str:
    """Where row `row` (from 0) of a file stands, for messages; reads text files anew, as lines and rows may differ."""
    if path.suffix.lower() in PARQUET:
        return f"row {row + 1} of {path}"
    rows = _rows(path, delimiter)
    next(rows)
    line = next(line for i, (line, _) in enumerate(rows) if i == row)
    return f"line {line} of {path}"


def present(path: Path) -> None:
    """Raises InputError unless there is a file with something in it."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check data.path (or data.train, data.validation, data.test)")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name one file in it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def _parquet(path: Path, columns: Mapping[str, str]) -> pa.Table:
    file = pq.ParquetFile(path)
    header = file.schema_arrow.names
    found = {key: header[_position(path, header, key, name)] for key, name in columns.items()}
    if not file.metadata.num_rows:
        raise InputError(f"{path} has column names and no rows")
    table = file.read(columns=list(found.values()))
    return pa.table({key: table[name] for key, name in found.items()})


def _text(path: Path, columns: Mapping[str, str], delimiter: str | None) -> pa.Table:
    rows = _rows(path, delimiter)
    lines, header = next(rows, (0, []))
    found = {key: str(_position(path, header, key, name)) for key, name in columns.items()}
    if next(rows, None) is None:
        raise InputError(f"{path} has column names and no rows")
    with pa.input_stream(path) as stream:
        table = pyarrow.csv.read_csv(
            stream,
            read_options=pyarrow.csv.ReadOptions(skip_rows=lines, column_names=[str(i) for i in range(len(header))]),
            parse_options=pyarrow.csv.ParseOptions(
                delimiter=_delimiter(path, delimiter),
                quote_char='"' if _quoted(path) else False,
                newlines_in_values=True,
            ),
            convert_options=pyarrow.csv.ConvertOptions(
                include_columns=list(found.values()), column_types={name: pa.string() for name in found.values()}
            ),
        )
    return table.rename_columns(list(found))


def _position(path: Path, header: list[str], key: str, name: str) -> int:
    """Where the column that `key` names stands in the header."""
    for names in (header, [column.split(":")[0] for column in header]):
        if names.count(name) == 1:
            return names.index(name)
        if names.count(name) > 1:
            raise InputError(f"{path} has {names.count(name)} columns {name!r}: rename all but the one for {key}")
    hint = next((d for d in "\t;,| " if len(header) == 1 and d in header[0]), None)
    raise InputError(
        f"{path} has no column {name!r}; its first line names {', '.join(map(repr, header))}: "
        + (f"set data.delimiter={hint!r}" if hint else f"set {key} to one of them, or add a line of column names")
    )


def _suffix(path: Path) -> str:
    """The suffix that says the format: `.csv` of `ratings.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


def _quoted(path: Path) -> bool:
    return _suffix(path) not in ATOMIC  # atomic files never quote, and titles may hold a lone quote


def _delimiter(path: Path, delimiter: str | None) -> str:
    if delimiter is None:
        if _suffix(path) not in DELIMITERS:
            raise InputError(
                f"{path} has a suffix that says nothing of its format: rename it to .csv, .tsv, .inter (each also .gz "
                "or .zst), .parquet or .pq, or say data.delimiter=… for a text file"
            )
        return DELIMITERS[_suffix(path)]
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)  # what a shell leaves of "\t"
    if len(delimiter) != 1:
        raise InputError(f"data.delimiter={delimiter!r} is not one character")
    return delimiter


def _rows(path: Path, delimiter: str | None) -> Iterator[tuple[int, list[str]]]:
    """Rows of a text file that are not blank, header first, each with the number (from 1) of its last line."""
    delimiter = _delimiter(path, delimiter)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _quoted(path) else csv.QUOTE_NONE
    with pa.input_stream(path) as stream, io.TextIOWrapper(stream, "utf-8-sig", "replace", newline="") as text:
        reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
        yield from ((reader.line_num, row) for row in reader if row)


@contextmanager
def _explained(path: Path, delimiter: str | None) -> Iterator[None]:
    """Turns what Arrow says of an unreadable file into where it is broken and what to do."""
    try:
        yield
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror}") from error
    except OSError as error:
        what = "a truncated or corrupt compressed file" if path.suffix.lower() in PACKED else "unreadable"
        raise InputError(f"{path} is {what} ({error}): fetch or write it again") from error
    except pa.ArrowInvalid as error:
        if path.suffix.lower() in PARQUET:
            raise InputError(f"{path} is not a whole Parquet file ({error}): write it again") from error
        raise InputError(_fault(path, delimiter, error)) from error


def _fault(path: Path, delimiter: str | None, error: pa.ArrowInvalid) -> str:
    """What is wrong with a text file that Arrow refuses; read again in Python, which counts lines."""
    if "UTF8" in str(error):
        with pa.input_stream(path) as stream:
            for line, content in enumerate(io.BufferedReader(stream), 1):
                try:
                    content.decode()
                except UnicodeDecodeError:
                    return f"line {line} of {path} is not UTF-8: write the file again with that encoding"
    rows = _rows(path, delimiter)
    _, header = next(rows)
    for line, row in rows:
        if len(row) != len(header):
            return f"line {line} of {path} has {len(row)} fields and its column names are {len(header)}: mend that line"
    return f"{path} cannot be read: {error}"
