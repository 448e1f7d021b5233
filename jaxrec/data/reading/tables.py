"""Reading of selected columns of text and Parquet files into Arrow tables, with precise errors for faulty files."""

import csv
import io
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jaxrec.command_line import advice
from jaxrec.data.reading.quotes import lost_rows
from jaxrec.errors import InputError

csv.field_size_limit(2**31 - 1)  # as large as Arrow allows, so that fields of unclosed quotes can be diagnosed

# Exceptions of damaged files; zipfile raises RuntimeError (NotImplementedError) for archives with damaged flags.
DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)

ATOMIC = (".inter", ".user", ".item")
DELIMITERS = {".csv": ",", ".tsv": "\t", **dict.fromkeys(ATOMIC, "\t")}
PARQUET = (".parquet", ".pq")
REMEDY = "save it as UTF-8, or set its encoding (data.encoding=latin-1) if the source supports that"
LONGEST = 10_000  # maximum total length of column names; a longer first line is not a header
BLOCK = 1 << 24  # bytes that Arrow reads at once, and maximum row length
PACKED = (".gz", ".zst", ".zip")  # a .zip contains a single file


@dataclass(frozen=True, eq=False)
class InMemory:
    """A table in memory that can be read like a file.

    Attributes:
        table: the data.
        name: name of the table in messages.
    """

    table: pa.Table
    name: str = "the data frame"

    def __str__(self) -> str:
        return self.name


Source = Path | InMemory


def source(given: object) -> Source:
    """Convert a path to `Path` and a data frame to `InMemory`.

    Args:
        given: a path, or any object with the Arrow stream protocol (pandas, polars, pyarrow).

    Raises:
        InputError: the object is neither, or a column mixes types.
    """
    if isinstance(given, Path | InMemory):
        return given
    if isinstance(given, str):
        return Path(given)
    if isinstance(given, pd.DataFrame):
        return InMemory(pa.table({str(name): _arrow(given[name]) for name in given.columns}))
    if isinstance(given, pa.Table) or hasattr(given, "__arrow_c_stream__"):
        return InMemory(pa.table(given))
    raise InputError(
        f"{type(given).__name__} is not a supported data type: pass a path, or a pandas, polars or pyarrow table"
    )


def _arrow(column: pd.Series) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        kinds = ", ".join(sorted({type(value).__name__ for value in column.dropna()}))
        fix = f"frame[{column.name!r}] = frame[{column.name!r}].astype(str)"
        raise InputError(
            f"column {column.name!r} of the data frame mixes types ({kinds}): convert it to one, {fix}"
        ) from None


def read(path: Source, columns: Mapping[str, str], delimiter: str | None = None, encoding: str = "utf-8") -> pa.Table:
    """Read columns of a file.

    Args:
        path: the file or table.
        columns: config key (`data.user_column`) → column name in the file. In typed headers such as `user_id:token`
            the name ends before the colon.
        delimiter: overrides the delimiter implied by the suffix.
        encoding: encoding of a text file.

    Returns:
        A table with one column per config key: strings from text files, the stored types from Parquet files.

    Raises:
        InputError: the file is missing, unreadable or lacks a column.
    """
    if isinstance(path, InMemory):
        names = path.table.column_names
        if not path.table.num_rows:
            raise InputError(f"{path} has no rows")
        return pa.table({key: path.table.column(position(path, names, key, name)) for key, name in columns.items()})
    with _explained(path, delimiter, encoding):
        if path.suffix.lower() in PARQUET:
            return _parquet(path, columns)
        return _text(path, columns, delimiter, encoding)


def header(path: Source, delimiter: str | None = None, encoding: str = "utf-8") -> list[str]:
    """Return the column names of a file, unchanged (`user_id:token`); raises InputError as `read` does."""
    if isinstance(path, InMemory):
        return path.table.column_names
    with _explained(path, delimiter, encoding):
        if path.suffix.lower() in PARQUET:
            return list(pq.read_schema(path).names)
        return next(_rows(path, delimiter, encoding), (0, []))[1]


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column without dictionary encoding, with text and UUIDs as strings, and empty text and NaN as null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if isinstance(column.type, pa.UuidType):
        column = _uuids(column)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), None, column)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return pc.if_else(pc.equal(column, ""), None, column) if pa.types.is_string(column.type) else column


def scalars(column: pa.ChunkedArray, key: str, name: str) -> pa.ChunkedArray:
    """Return the `plain` column; raises InputError unless it has one number, date or text per row.

    Args:
        column: the column.
        key: config key that names the column, for messages.
        name: name of the column, for messages.
    """
    column = plain(column)
    if not is_scalar(column.type):
        raise InputError(
            f"{key}={name} has the type {column.type}, not numbers, dates or text: name another column, or convert it "
            "to one of these"
        )
    return column


def is_scalar(kind: pa.DataType) -> bool:
    """Return whether values of this type are numbers, booleans, dates or text after `plain`."""
    types = pa.types
    accepted = [types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal]
    accepted += [types.is_string, types.is_date, types.is_timestamp]
    return any(is_of(kind) for is_of in accepted)


def _uuids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert UUIDs to text, formatting each distinct one once."""
    codes = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.binary(16)).dictionary_encode()
    codes = codes.unify_dictionaries()
    texts = pa.array([str(uuid.UUID(bytes=each)) for each in codes.chunk(0).dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(chunk.indices) for chunk in codes.chunks])


def batches(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Read a text file as `read` does, in batches, for files larger than memory."""
    with _explained(path, None), _stream(path) as stream:
        names, options = _options(path, columns, None, "utf-8")
        for batch in pyarrow.csv.open_csv(stream, **options):
            yield batch.rename_columns(list(names))


def content(path: Path) -> bytes:
    """Return the decompressed bytes of a file."""
    with _explained(path, None), _stream(path) as stream:
        return stream.read()


def present(path: Path) -> None:
    """Raise InputError unless the file exists and is not empty."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check data.path (or data.train, data.validation, data.test)")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def place(path: Source, row: int, delimiter: str | None = None) -> str:
    """Return the location of row `row` (from 0) for messages; rereads text files, as rows may span several lines."""
    if isinstance(path, InMemory) or path.suffix.lower() in PARQUET:
        return f"row {row + 1} of {path}"
    rows = _rows(path, delimiter)
    next(rows)
    line = next(line for i, (line, _) in enumerate(rows) if i == row)
    return f"line {line} of {path}"


def _parquet(path: Path, columns: Mapping[str, str]) -> pa.Table:
    file = pq.ParquetFile(path)
    header = file.schema_arrow.names
    names = {key: header[position(path, header, key, name)] for key, name in columns.items()}
    if not file.metadata.num_rows:
        raise InputError(f"{path} has a header but no rows")
    table = file.read(columns=list(names.values()))
    return pa.table({key: table[name] for key, name in names.items()})


def _text(path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str) -> pa.Table:
    names, options = _options(path, columns, delimiter, encoding)
    with _stream(path) as stream:
        table = pyarrow.csv.read_csv(stream, **options).rename_columns(list(names))
    if _quoted(path) and (fault := _quote_fault(path, delimiter, encoding, len(table))):
        raise InputError(fault)
    return table


def _quote_fault(path: Path, delimiter: str | None, encoding: str, n_rows: int | None = None) -> str | None:
    """Describe a stray quote in a text file of which Arrow read `n_rows`; None if no row is lost."""
    with _stream(path) as stream:
        if not any(b'"' in block for block in iter(lambda: stream.read(1 << 20), b"")):
            return None
    with _lines(path, encoding) as lines:
        # If every line but the header is a row, no quote has merged any.
        if n_rows is not None and sum(1 for line in lines if line.strip("\r\n")) == n_rows + 1:
            return None
    with _lines(path, encoding) as lines:
        records, fault = lost_rows(lines, _delimiter(path, delimiter))
    if fault is None and n_rows is not None and records != n_rows + 1:
        fault = f"the file has {records - 1:,} rows but {n_rows:,} were read: look for stray quotes"
    return None if fault is None else f"{path}: {fault}"


def _options(
    path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str
) -> tuple[dict[str, str], dict[str, object]]:
    """Return the internal column name of each config key, and the options of Arrow's CSV reader."""
    rows = _rows(path, delimiter, encoding)
    lines, header = next(rows, (0, []))
    names = {key: str(position(path, header, key, name)) for key, name in columns.items()}
    if next(rows, None) is None:
        raise InputError(f"{path} has a header but no rows")
    all_names = [str(i) for i in range(len(header))]
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            skip_rows=lines, column_names=all_names, encoding=encoding, block_size=BLOCK
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=_delimiter(path, delimiter),
            quote_char='"' if _quoted(path) else False,
            newlines_in_values=True,
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            include_columns=list(names.values()), column_types={name: pa.string() for name in names.values()}
        ),
    }
    return names, options


@contextmanager
def _stream(path: Path) -> Iterator[pa.NativeFile]:
    """Open a file as an Arrow stream of its decompressed bytes."""
    if path.suffix.lower() != ".zip":
        with pa.input_stream(path) as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")]
        if len(members) != 1:
            raise InputError(
                f"{path} contains {len(members)} files ({', '.join(members[:5])}): unpack it and name one of them"
            )
        with archive.open(members[0]) as member:
            yield pa.PythonFile(member, "r")


def position(path: Source, header: list[str], key: str, name: str) -> int:
    """Return the index of the column `name` in the header; `key` is the config key that names it, for messages."""
    for names in (header, [column.split(":")[0] for column in header]):
        if names.count(name) == 1:
            return names.index(name)
        if names.count(name) > 1:
            raise InputError(f"{path} has {names.count(name)} columns {name!r}: rename all but the one for {key}")
    if isinstance(path, InMemory):
        raise InputError(
            f"{path} has no column {name!r}; the columns are {', '.join(map(repr, header))}: set {key} to one of them"
        )
    if any("\0" in column for column in header):
        raise InputError(f"{path} is UTF-16 or not text: save it as UTF-8")
    hint = next((d for d in "\t;,| " if len(header) == 1 and d in header[0]), None)
    if any("\n" in column for column in header) or sum(map(len, header)) > LONGEST:
        raise InputError(f"{path} has no column {name!r}; its first line has a stray quote, or is not a header")
    hint = "tab" if hint == "\t" else hint  # easier to type in a shell
    choose = f"set {key} to one of them, or" if "." in key else "it is a different file or has no header:"
    raise InputError(
        f"{path} has no column {name!r}; its first line names {', '.join(map(repr, header))}: "
        + (f"set {advice('data.delimiter', hint)}" if hint else f"{choose} add a line of column names")
    )


def _suffix(path: Path) -> str:
    """Return the suffix that determines the format: `.csv` for `ratings.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


def _quoted(path: Path) -> bool:
    return _suffix(path) not in ATOMIC  # atomic files never quote, and titles may hold a lone quote


def _delimiter(path: Path, delimiter: str | None) -> str:
    if delimiter is None:
        if _suffix(path) not in DELIMITERS:
            raise InputError(
                f"{path} has an unknown suffix: rename it to .csv, .tsv, .inter (each also .gz or .zst), .parquet or "
                ".pq, or set data.delimiter=… for a text file"
            )
        return DELIMITERS[_suffix(path)]
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)  # a tab is hard to type in a shell
    if len(delimiter) != 1:
        raise InputError(f"data.delimiter={delimiter!r} is not one character")
    return delimiter


def _rows(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Yield the non-blank rows of a text file, header first, each with the number (from 1) of its last line."""
    delimiter = _delimiter(path, delimiter)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _quoted(path) else csv.QUOTE_NONE
    with _lines(path, encoding) as text:
        reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
        yield from ((reader.line_num, row) for row in reader if row)


@contextmanager
def _lines(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """Open a text file as an iterator of its lines, including line ends."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with _stream(path) as stream, io.TextIOWrapper(stream, encoding, "replace", newline="") as text:
        yield text


@contextmanager
def _explained(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[None]:
    """Convert exceptions of unreadable files to an InputError with location and remedy."""
    present(path)
    try:
        yield
    except LookupError as error:
        raise InputError(f"data.encoding: {error}; utf-8, latin-1 and cp1252 are the usual ones") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except DAMAGED as error:
        what = "a truncated or corrupt compressed file" if path.suffix.lower() in PACKED else "unreadable"
        raise InputError(f"{path} is {what} ({error}): download or write it again") from error
    except pa.ArrowInvalid as error:
        if path.suffix.lower() in PARQUET:
            raise InputError(f"{path} is not a valid Parquet file ({error}): write it again") from error
        raise InputError(_fault(path, delimiter, encoding, error)) from error


def _fault(path: Path, delimiter: str | None, encoding: str, error: pa.ArrowInvalid) -> str:
    """Describe the fault of a text file that Arrow rejects; rereads it in Python to find the line."""
    if "UTF8" in str(error):
        with _stream(path) as stream:
            for line, content in enumerate(io.BufferedReader(stream), 1):
                try:
                    content.decode()
                except UnicodeDecodeError:
                    return f"line {line} of {path} is not UTF-8: {REMEDY}"
    if _quoted(path) and (fault := _quote_fault(path, delimiter, encoding)):
        return fault
    rows = _rows(path, delimiter, encoding)
    _, header = next(rows)
    for line, row in rows:
        if sum(map(len, row)) > BLOCK:
            return f"line {line} of {path} ends a row of more than {BLOCK >> 20} MiB: shorten it"
        if len(row) != len(header):
            return f"line {line} of {path} has {len(row)} fields, the header has {len(header)}: fix that line"
    return f"{path} cannot be read: {error}"
