"""Text files with one row per line: decompression, delimiters, rows, and descriptions of faults."""

import codecs
import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Literal

import pyarrow as pa

from jaxrec.data.reading.file_kinds import PACKED, check_format
from jaxrec.data.reading.quotes import lost_rows
from jaxrec.errors import InputError

csv.field_size_limit(2**31 - 1)  # as large as Arrow allows, so that fields of unclosed quotes can be diagnosed

ATOMIC = (".inter", ".user", ".item")
DELIMITERS = {".csv": ",", ".tsv": "\t", **dict.fromkeys(ATOMIC, "\t")}
REMEDY = "save it as UTF-8, or set its encoding (data.encoding=latin-1) if the source supports that"
EARLY = 20  # lines in which column names are looked for
BLOCK = 1 << 24  # bytes that Arrow reads at once, and maximum row length


@contextmanager
def open_stream(path: Path) -> Iterator[pa.NativeFile]:
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


def format_suffix(path: Path) -> str:
    """Return the suffix that determines the format: `.csv` for `ratings.csv.gz`."""
    return (path.with_suffix("") if path.suffix.lower() in PACKED else path).suffix.lower()


def has_quotes(path: Path) -> bool:
    """Return whether fields of this file may be quoted."""
    return format_suffix(path) not in ATOMIC  # atomic files never quote, and titles may hold a lone quote


def delimiter_of(path: Path, delimiter: str | None) -> str:
    """Return the delimiter of a text file, by default the one that its suffix implies."""
    if delimiter is None:
        if format_suffix(path) not in DELIMITERS:
            check_format(path, format_suffix(path))
            raise InputError(
                f"{path} has an unknown suffix: rename it to .csv, .tsv, .inter (each also .gz, .zst or .zip), "
                ".parquet or .pq, or set data.delimiter=… for a text file"
            )
        return DELIMITERS[format_suffix(path)]
    delimiter = {"\\t": "\t", "tab": "\t"}.get(delimiter, delimiter)  # a tab is hard to type in a shell
    if len(delimiter) != 1:
        raise InputError(f"data.delimiter={delimiter!r} is not one character")
    return delimiter


def iter_rows(path: Path, delimiter: str | None, encoding: str = "utf-8") -> Iterator[tuple[int, list[str]]]:
    """Yield the non-blank rows of a text file, header first, each with the number (from 1) of its last line."""
    delimiter = delimiter_of(path, delimiter)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if has_quotes(path) else csv.QUOTE_NONE
    with open_lines(path, encoding) as text:
        reader = csv.reader(text, delimiter=delimiter, quoting=quoting)
        yield from ((reader.line_num, row) for row in reader if row)


def later_header(path: Path, names: Iterable[str], encoding: str) -> int | None:
    """Return the number (from 2) of the first of the early lines that has all column names; None if there is none."""
    with open_lines(path, encoding) as lines:
        for line, text in enumerate(islice(lines, EARLY), 1):
            for delimiter in "\t;,|":
                fields = {field.strip().strip('"') for field in text.split(delimiter)}
                if line > 1 and fields.issuperset(names):
                    return line
    return None


@contextmanager
def open_lines(path: Path, encoding: str) -> Iterator[Iterator[str]]:
    """Open a text file as an iterator of its lines, including line ends."""
    encoding = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding  # without the byte order mark
    with open_stream(path) as stream, io.TextIOWrapper(stream, encoding, "replace", newline="") as text:
        yield text


def quote_fault(path: Path, delimiter: str | None, encoding: str, n_rows: int | None = None) -> str | None:
    """Describe a stray quote in a text file from which Arrow read `n_rows` rows; None if no row is lost."""
    with open_stream(path) as stream:
        if not any(b'"' in block for block in iter(lambda: stream.read(1 << 20), b"")):
            return None
    with open_lines(path, encoding) as lines:
        # If every line but the header is a row, no quote has merged any.
        if n_rows is not None and sum(1 for line in lines if line.strip("\r\n")) == n_rows + 1:
            return None
    with open_lines(path, encoding) as lines:
        records, fault = lost_rows(lines, delimiter_of(path, delimiter))
    if fault is None and n_rows is not None and records != n_rows + 1:
        fault = f"the file has {records - 1:,} rows but {n_rows:,} were read: look for stray quotes"
    return None if fault is None else f"{path}: {fault}"


def describe_fault(path: Path, delimiter: str | None, encoding: str, error: pa.ArrowInvalid) -> str:
    """Describe the fault of a text file that Arrow rejects; rereads it in Python to find the line."""
    if "UTF8" in str(error):
        with open_stream(path) as stream:
            for line, content in enumerate(io.BufferedReader(stream), 1):
                try:
                    content.decode()
                except UnicodeDecodeError:
                    return f"line {line} of {path} is not UTF-8: {REMEDY}"
    if has_quotes(path) and (fault := quote_fault(path, delimiter, encoding)):
        return fault
    rows = iter_rows(path, delimiter, encoding)
    _, header = next(rows)
    for line, row in rows:
        if sum(map(len, row)) > BLOCK:
            return f"line {line} of {path} ends a row of more than {BLOCK >> 20} MiB: shorten it"
        if len(row) != len(header):
            return f"line {line} of {path} has {len(row)} fields, the header has {len(header)}: fix that line"
    return f"{path} cannot be read: {error}"
