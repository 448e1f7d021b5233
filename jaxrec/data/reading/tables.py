"""The wanted columns of a text or Parquet file, as Arrow holds them; says what is wrong with a file that has none."""

import csv
import io
import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jaxrec.command_line import advice
from jaxrec.data.reading.quotes import lost_rows
from jaxrec.errors import InputError

csv.field_size_limit(2**31 - 1)  # a field may be as long as Arrow takes it; what an unclosed quote makes is found so

# What reading a damaged file raises; of an archive whose flags are damaged, zipfile says that it cannot do that.
DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)

ATOMIC = (".inter", ".user", ".item")
DELIMITERS = {".csv": ",", ".tsv": "\t", **dict.fromkeys(ATOMIC, "\t")}
PARQUET = (".parquet", ".pq")
REMEDY = "write it again as such, or say what it is (data.encoding=latin-1) if the source takes that"
LONGEST = 10_000  # characters of all column names, beyond which they are none
BLOCK = 1 << 24  # bytes that Arrow reads at once; no row may be longer
PACKED = (".gz", ".zst", ".zip")  # a .zip holds the one file


@dataclass(frozen=True, eq=False)
class InMemory:
    """A table in memory, which is read as a file is; `name` stands for it in messages."""

    table: pa.Table
    name: str = "the data frame"

    def __str__(self) -> str:
        return self.name


Source = Path | InMemory


def source(given: Any) -> Source:
    """A path as such; a data frame (pandas, polars, pyarrow: whatever speaks the Arrow protocol) as a table in memory.

    Raises:
        InputError: neither, or a column whose values are of several types.
    """
    if isinstance(given, Path | InMemory):
        return given
    if isinstance(given, str):
        return Path(given)
    if isinstance(given, pd.DataFrame):
        return InMemory(pa.table({str(name): _arrow(given[name]) for name in given.columns}))
    if isinstance(given, pa.Table) or hasattr(given, "__arrow_c_stream__"):
        return InMemory(pa.table(given))
    raise InputError(f"a {type(given).__name__} is no data: give a path, or a pandas, polars or pyarrow table")


def _arrow(column: pd.Series) -> pa.Array:
    try:
        return pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        kinds = ", ".join(sorted({type(value).__name__ for value in column.dropna()}))
        fix = f"frame[{column.name!r}] = frame[{column.name!r}].astype(str)"
        raise InputError(
            f"column {column.name!r} of the data frame mixes types ({kinds}): make it one, {fix}"
        ) from None


def read(path: Source, columns: Mapping[str, str], delimiter: str | None = None, encoding: str = "utf-8") -> pa.Table:
    """The columns of a file: one a key of `columns`, which maps config keys (`data.user_column`) to names in the file.

    Text files give strings, whatever they look like; Parquet files give the types they have. A name matches before the
    colon of a header such as `user_id:token`. `delimiter` overrides the one that the suffix implies; `encoding` is
    that of a text file.
    Raises InputError, naming the file and what to do, for a file that is not there, not readable or lacks a column.
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
    """The names of a file's columns, as they stand there (`user_id:token`); raises InputError as `read` does."""
    if isinstance(path, InMemory):
        return path.table.column_names
    with _explained(path, delimiter, encoding):
        if path.suffix.lower() in PARQUET:
            return list(pq.read_schema(path).names)
        return next(_rows(path, delimiter, encoding), (0, []))[1]


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without dictionary encoding, text and UUIDs as strings, and empty text or NaN as null."""
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
    """The column as by `plain`, which holds one number, date or text a row; `key` of the configuration names it.

    Raises InputError for a column of any other type, such as lists, bytes or durations.
    """
    column = plain(column)
    if not is_scalar(column.type):
        raise InputError(
            f"{key} holds {column.type}, not numbers, dates or text: name another column than {name!r}, or write it "
            "as one of these"
        )
    return column


def is_scalar(kind: pa.DataType) -> bool:
    """Whether `plain` makes a number, a truth value, a date or text of each value of this type."""
    types = pa.types
    accepted = [types.is_null, types.is_boolean, types.is_integer, types.is_floating, types.is_decimal]
    accepted += [types.is_string, types.is_date, types.is_timestamp]
    return any(is_of(kind) for is_of in accepted)


def _uuids(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """UUIDs in their usual text form, each made once."""
    codes = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.binary(16)).dictionary_encode()
    codes = codes.unify_dictionaries()
    texts = pa.array([str(uuid.UUID(bytes=each)) for each in codes.chunk(0).dictionary.to_pylist()], pa.string())
    return pa.chunked_array([texts.take(chunk.indices) for chunk in codes.chunks])


def batches(path: Path, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """What `read` gives of a text file, piece by piece: for files larger than memory."""
    with _explained(path, None), _stream(path) as stream:
        found, options = _options(path, columns, None, "utf-8")
        for batch in pyarrow.csv.open_csv(stream, **options):
            yield batch.rename_columns(list(found))


def content(path: Path) -> bytes:
    """All bytes of a file, unpacked."""
    with _explained(path, None), _stream(path) as stream:
        return stream.read()


def present(path: Path) -> None:
    """Raises InputError unless there is a file with something in it."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check data.path (or data.train, data.validation, data.test)")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name one file in it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def place(path: Source, row: int, delimiter: str | None = None) -> str:
    """Where row `row` (from 0) of a file stands, for messages; reads text files anew, as lines and rows may differ."""
    if isinstance(path, InMemory) or path.suffix.lower() in PARQUET:
        return f"row {row + 1} of {path}"
    rows = _rows(path, delimiter)
    next(rows)
    line = next(line for i, (line, _) in enumerate(rows) if i == row)
    return f"line {line} of {path}"


def _parquet(path: Path, columns: Mapping[str, str]) -> pa.Table:
    file = pq.ParquetFile(path)
    header = file.schema_arrow.names
    found = {key: header[position(path, header, key, name)] for key, name in columns.items()}
    if not file.metadata.num_rows:
        raise InputError(f"{path} has column names and no rows")
    table = file.read(columns=list(found.values()))
    return pa.table({key: table[name] for key, name in found.items()})


def _text(path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str) -> pa.Table:
    found, options = _options(path, columns, delimiter, encoding)
    with _stream(path) as stream:
        table = pyarrow.csv.read_csv(stream, **options).rename_columns(list(found))
    if _quoted(path) and (fault := _quote_fault(path, delimiter, encoding, len(table))):
        raise InputError(fault)
    return table


def _quote_fault(path: Path, delimiter: str | None, encoding: str, n_rows: int | None = None) -> str | None:
    """What is wrong with the quotes of a text file of which Arrow read `n_rows`; None where no row is lost."""
    with _stream(path) as stream:
        if not any(b'"' in piece for piece in iter(lambda: stream.read(1 << 20), b"")):
            return None
    with _lines(path, encoding) as lines:
        # Where each line is a row no quote has swallowed any; the first of these lines is the header.
        if n_rows is not None and sum(1 for line in lines if line.strip("\r\n")) == n_rows + 1:
            return None
    with _lines(path, encoding) as lines:
        records, fault = lost_rows(lines, _delimiter(path, delimiter))
    if fault is None and n_rows is not None and records != n_rows + 1:
        fault = f"{records - 1:,} rows were found and {n_rows:,} read: look for stray quotes"
    return None if fault is None else f"{path}: {fault}"


def _options(
    path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str
) -> tuple[dict[str, str], dict[str, Any]]:
    """The names of the wanted columns by config key, and how Arrow is to read them."""
    rows = _rows(path, delimiter, encoding)
    lines, header = next(rows, (0, []))
    found = {key: str(position(path, header, key, name)) for key, name in columns.items()}
    if next(rows, None) is None:
        raise InputError(f"{path} has column names and no rows")
    names = [str(i) for i in range(len(header))]
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            skip_rows=lines, column_names=names, encoding=encoding, block_size=BLOCK
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=_delimiter(path, delimiter),
            quote_char='"' if _quoted(path) else False,
            newlines_in_values=True,
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            include_columns=list(found.values()), column_types={name: pa.string() for name in found.values()}
        ),
    }
    return found, options


@contextmanager
def _stream(path: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked, as a file of Arrow."""
    if path.suffix.lower() != ".zip":
        with pa.input_stream(path) as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        members = [m for m in archive.namelist() if not m.endswith("/") and not m.startswith("__MACOSX/")]
        if len(members) != 1:
            raise InputError(
                f"{path} holds {len(members)} files ({', '.join(members[:5])}): unpack it, name one of them"
            )
        with archive.open(members[0]) as member:
            yield pa.PythonFile(member, "r")


def position(path: Source, header: list[str], key: str, name: str) -> int:
    """Where the column `name`, which `key` of the configuration asks for, stands in the header."""
    for names in (header, [column.split(":")[0] for column in header]):
        if names.count(name) == 1:
            return names.index(name)
        if names.count(name) > 1:
            raise InputError(f"{path} has {names.count(name)} columns {name!r}: rename all but the one for {key}")
    if isinstance(path, InMemory):
        raise InputError(
            f"{path} has no column {name!r}; it has {', '.join(map(repr, header))}: set {key} to one of them"
        )
    if any("\0" in column for column in header):
        raise InputError(f"{path} is UTF-16, or no text: write it again as UTF-8")
    hint = next((d for d in "\t;,| " if len(header) == 1 and d in header[0]), None)
    if any("\n" in column for column in header) or sum(map(len, header)) > LONGEST:
        raise InputError(f"{path} has no column {name!r}; its first line has a stray quote, or holds no column names")
    hint = "tab" if hint == "\t" else hint  # as a shell takes it
    choose = f"set {key} to one of them, or" if "." in key else "it is another file, or has lost its head:"
    raise InputError(
        f"{path} has no column {name!r}; its first line names {', '.join(map(repr, header))}: "
        + (f"set {advice('data.delimiter', hint)}" if hint else f"{choose} add a line of column names")
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


def _rows(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Rows of a text file that are not blank, header first, each with the number (from 1) of its last line."""
    delimiter = _delimiter(path, delimiter)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if _quoted(path) else csv.QUOTE_NONE
    with _lines(path, encoding) as text:
        reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
        yield from ((reader.line_num, row) for row in reader if row)


@contextmanager
def _lines(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """The lines of a text file, with their ends."""
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    with _stream(path) as stream, io.TextIOWrapper(stream, encoding, "replace", newline="") as text:
        yield text


@contextmanager
def _explained(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[None]:
    """Turns what Arrow says of an unreadable file into where it is broken and what to do."""
    present(path)
    try:
        yield
    except LookupError as error:
        raise InputError(f"data.encoding: {error}; utf-8, latin-1 and cp1252 are the usual ones") from error
    except PermissionError as error:
        raise InputError(f"{path} may not be read: {error.strerror}") from error
    except DAMAGED as error:
        what = "a truncated or corrupt compressed file" if path.suffix.lower() in PACKED else "unreadable"
        raise InputError(f"{path} is {what} ({error}): fetch or write it again") from error
    except pa.ArrowInvalid as error:
        if path.suffix.lower() in PARQUET:
            raise InputError(f"{path} is not a whole Parquet file ({error}): write it again") from error
        raise InputError(_fault(path, delimiter, encoding, error)) from error


def _fault(path: Path, delimiter: str | None, encoding: str, error: pa.ArrowInvalid) -> str:
    """What is wrong with a text file that Arrow refuses; read again in Python, which counts lines."""
    if "UTF8" in str(error):
        with _stream(path) as stream:
            for line, said in enumerate(io.BufferedReader(stream), 1):
                try:
                    said.decode()
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
            return f"line {line} of {path} has {len(row)} fields and its column names are {len(header)}: mend that line"
    return f"{path} cannot be read: {error}"
