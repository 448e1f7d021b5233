"""Reading of selected columns of text and Parquet files into Arrow tables, with precise errors for faulty files."""

import uuid
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from jaxrec.command_line import advice
from jaxrec.data.reading import parquet
from jaxrec.data.reading.file_kinds import check_content
from jaxrec.data.reading.frames import InMemory, in_memory
from jaxrec.data.reading.text_files import (
    BLOCK,
    PACKED,
    delimiter_of,
    describe_fault,
    has_quotes,
    iter_rows,
    later_header,
    open_stream,
    quote_fault,
)
from jaxrec.errors import InputError
from jaxrec.user_paths import expanded

# Exceptions of damaged files; zipfile raises RuntimeError (NotImplementedError) for archives with damaged flags.
DAMAGED = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)

MAX_HEADER = 10_000  # maximum total length of column names; a longer first line is not a header


Source = Path | InMemory


def source(given: object, name: str = "the data frame") -> Source:
    """Convert a path to `Path` and a data frame to `InMemory`, with its name in messages; see `frames.in_memory`.

    A leading ~ of a path is the home folder.
    """
    if isinstance(given, InMemory):
        return given
    if not isinstance(given, str | Path):
        return in_memory(given, name)
    if not str(given):  # `Path` takes it for the current folder
        raise InputError("the path of a file is empty: name a file, e.g. data.path=orders.csv")
    return expanded(given)


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
        if not len(path):
            raise InputError(f"{path} has no rows")
        header = path.column_names
        return path.columns(list(columns), [position(path, header, key, name) for key, name in columns.items()])
    with _explained(path, delimiter, encoding):
        if parquet.is_parquet(path):
            return _parquet(path, columns)
        return _text(path, columns, delimiter, encoding)


def header(path: Source, delimiter: str | None = None, encoding: str = "utf-8") -> list[str]:
    """Return the column names of a file, unchanged (`user_id:token`); raises InputError as `read` does."""
    if isinstance(path, InMemory):
        return path.column_names
    with _explained(path, delimiter, encoding):
        if parquet.is_parquet(path):
            return list(pq.read_schema(parquet.shards(path)[0]).names)
        return next(iter_rows(path, delimiter, encoding), (0, []))[1]


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the column without dictionary encoding, with text and UUIDs as strings, and empty text and NaN as null."""
    if pa.types.is_dictionary(column.type):
        column = parquet.decoded(column)
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if is_list and pa.types.is_string_view(column.type.value_type):  # pandas does not read them
        column = column.cast(pa.large_list(pa.string()))
    if isinstance(column.type, pa.UuidType):
        column = _uuids(column)
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if pa.types.is_decimal(column.type) and column.type.bit_width < 128:  # Arrow computes with few functions of these
        column = column.cast(pa.decimal128(column.type.precision, column.type.scale))
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
    with _explained(path, None), open_stream(path) as stream:
        names, options = _options(path, columns, None, "utf-8")
        for batch in pyarrow.csv.open_csv(stream, **options):
            yield batch.rename_columns(list(names))


def content(path: Path) -> bytes:
    """Return the decompressed bytes of a file."""
    with _explained(path, None), open_stream(path) as stream:
        return stream.read()


def present(path: Path) -> None:
    """Raise InputError unless the file exists and is not empty."""
    if not path.exists():
        raise InputError(f"there is no file {path}: check the path")
    if path.is_dir():
        raise InputError(f"{path} is a folder: name a file in it")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")


def place(path: Source, row: int, delimiter: str | None = None) -> str:
    """Return the location of row `row` (from 0) for messages; rereads text files, as rows may span several lines."""
    if isinstance(path, InMemory):
        return f"row {row + 1} of {path}"
    if parquet.is_parquet(path):
        return parquet.place(path, row)
    rows = iter_rows(path, delimiter)
    next(rows)
    line = next(line for i, (line, _) in enumerate(rows) if i == row)
    return f"line {line} of {path}"


def _parquet(path: Path, columns: Mapping[str, str]) -> pa.Table:
    names = {}
    for file in parquet.shards(path):
        header = pq.read_schema(file).names
        names = {key: header[position(file, header, key, name)] for key, name in columns.items()}
    if not parquet.n_rows(path):
        raise InputError(f"{path} has a header but no rows")
    table = parquet.columns(path, list(names.values()))
    return pa.table({key: table[name] for key, name in names.items()})


def _text(path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str) -> pa.Table:
    names, options = _options(path, columns, delimiter, encoding)
    with open_stream(path) as stream:
        table = pyarrow.csv.read_csv(stream, **options).rename_columns(list(names))
    if has_quotes(path) and (fault := quote_fault(path, delimiter, encoding, len(table))):
        raise InputError(fault)
    return table


def _options(
    path: Path, columns: Mapping[str, str], delimiter: str | None, encoding: str
) -> tuple[dict[str, str], dict[str, object]]:
    """Return the internal column name of each config key, and the options of Arrow's CSV reader."""
    rows = iter_rows(path, delimiter, encoding)
    lines, header = next(rows, (0, []))
    missing = not {column.split(":")[0] for column in header}.issuperset(columns.values()) if header else False
    if missing and (line := later_header(path, columns.values(), encoding)):
        raise InputError(f"line {line} of {path} has the column names: delete the lines above it")
    names = {key: str(position(path, header, key, name)) for key, name in columns.items()}
    if next(rows, None) is None:
        raise InputError(f"{path} has a header but no rows")
    all_names = [str(i) for i in range(len(header))]
    options = {
        "read_options": pyarrow.csv.ReadOptions(
            skip_rows=lines, column_names=all_names, encoding=encoding, block_size=BLOCK
        ),
        "parse_options": pyarrow.csv.ParseOptions(
            delimiter=delimiter_of(path, delimiter),
            quote_char='"' if has_quotes(path) else False,
            newlines_in_values=True,
        ),
        "convert_options": pyarrow.csv.ConvertOptions(
            include_columns=list(names.values()), column_types={name: pa.string() for name in names.values()}
        ),
    }
    return names, options


def position(path: Source, header: list[str], key: str, name: str) -> int:
    """Return the index of the column `name` in the header; `key` is the config key that names it, for messages."""
    for names in (header, [column.split(":")[0] for column in header]):
        if names.count(name) == 1:
            return names.index(name)
        if names.count(name) > 1:
            raise InputError(f"{path} has {names.count(name)} columns {name!r}: rename all but the one for {key}")
    if isinstance(path, InMemory) and name in path.index_names:
        raise InputError(f"{path} has {name!r} as its index, not as a column: pass frame.reset_index()")
    if isinstance(path, InMemory) or parquet.is_parquet(path):
        raise InputError(
            f"{path} has no column {name!r}; the columns are {', '.join(map(repr, header))}: set {key} to one of them"
        )
    if any("\0" in column for column in header):
        raise InputError(f"{path} is UTF-16 or not text: save it as UTF-8")
    if not header:
        raise InputError(f"{path} is empty")
    hint = _delimiter_of(header[0], name) if len(header) == 1 else None
    if any("\n" in column for column in header) or sum(map(len, header)) > MAX_HEADER:
        raise InputError(f"{path} has no column {name!r}; its first line has a stray quote, or is not a header")
    hint = "tab" if hint == "\t" else hint  # easier to type in a shell
    if hint and not key.startswith("data."):  # a command without such a setting
        raise InputError(f"{path} has no column {name!r}; its separator is {hint!r}: save it as .csv with commas")
    choose = f"set {key} to one of them, or" if key.endswith("_column") else "it is a different file or has no header:"
    raise InputError(
        f"{path} has no column {name!r}; its first line names {', '.join(map(repr, header))}: "
        + (f"set {advice('data.delimiter', hint)}" if hint else f"{choose} add a line of column names")
    )


def _delimiter_of(line: str, name: str) -> str | None:
    """Return the likely delimiter of a first line: one that separates the name of a column, or that is no blank."""
    found = [delimiter for delimiter in "\t;,| " if delimiter in line]
    separating = [delimiter for delimiter in found if name in line.split(delimiter)]
    return next(iter([*separating, *(delimiter for delimiter in found if delimiter != " ")]), None)


@contextmanager
def _explained(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[None]:
    """Convert exceptions of unreadable files to an InputError with location and remedy."""
    for file in parquet.shards(path):
        present(file)
    try:
        if not parquet.is_parquet(path):
            check_content(path, encoding)
        yield
    except LookupError as error:
        raise InputError(f"data.encoding: {error}; utf-8, latin-1 and cp1252 are the usual ones") from error
    except UnicodeError as error:
        raise InputError(f"{path} is not text in the encoding {encoding} ({error}): set data.encoding") from error
    except PermissionError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except DAMAGED as error:
        what = "a truncated or corrupt compressed file" if path.suffix.lower() in PACKED else "unreadable"
        raise InputError(f"{path} is {what} ({error}): download or write it again") from error
    except pa.ArrowInvalid as error:
        if parquet.is_parquet(path):
            raise InputError(
                f"{parquet.damaged(path)} is not a valid Parquet file ({error}): write it again"
            ) from error
        raise InputError(describe_fault(path, delimiter, encoding, error)) from error
