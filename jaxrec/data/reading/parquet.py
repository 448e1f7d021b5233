"""Parquet files: a single one, or a table in several files, given as a folder or a pattern (logs/2024-*.parquet)."""

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jaxrec.data.reading.text_files import DELIMITERS, format_suffix
from jaxrec.errors import InputError

SUFFIXES = (".parquet", ".pq")


def is_parquet(path: Path) -> bool:
    """Return whether a path is a Parquet file, or a folder or pattern of such files."""
    return path.suffix.lower() in SUFFIXES or path.is_dir() or is_pattern(path)


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern of files, not the name of one."""
    return glob.has_magic(str(path)) and not path.exists()


def shards(path: Path) -> list[Path]:
    """Return the files of a table, sorted by name; those of a folder include its subfolders.

    Files and subfolders whose name starts with a dot or an underscore are notes of the program that wrote the table,
    such as `_delta_log`. They are left out, unless a pattern names them, as in `_*/*.parquet`.

    Raises:
        InputError: there are none, or a folder holds tables of another format, too.
    """
    if path.is_dir():
        found = list(_files_below(path))
        files = [file for file in found if file.suffix.lower() in SUFFIXES]
        if not files:
            raise InputError(f"{path} is a folder without .parquet files: name a file in it, or another folder")
        if other := [file for file in found if format_suffix(file) in DELIMITERS]:
            raise InputError(
                f"{path} holds {min(other).relative_to(path)} beside .parquet files, and only .parquet files can be "
                f"read together: name one file, or the pattern {path / '*.parquet'}"
            )
    elif is_pattern(path):
        _check_listed(path)
        found = [Path(name) for name in glob.glob(str(path), recursive=True)]
        named = [part for part in path.parts if _is_note(part)]
        files = [file for file in found if not any(_is_note(part) and not _matches(part, named) for part in file.parts)]
        if not files:
            raise InputError(f"no file matches {path}: check the pattern")
        if other := [file for file in files if file.suffix.lower() not in SUFFIXES]:
            raise InputError(f"{path} matches {other[0]}, but only .parquet files can be read together")
    else:
        return [path]
    return sorted(files)


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders but notes; an unreadable subfolder is an error, not skipped."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be read: {error.strerror}") from error

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not _is_note(name)]
        files = (Path(root, name) for name in names if not _is_note(name))
        yield from (file for file in files if file.is_file())


def _check_listed(pattern: Path) -> None:
    """Raise InputError if a folder that a pattern lists is unreadable: `glob` would skip its files."""
    for parent, child in zip(pattern.parents, (pattern, *pattern.parents), strict=False):
        if glob.has_magic(child.name):
            for folder in map(Path, glob.glob(str(parent), recursive=True)):
                if folder.is_dir() and not _is_note(folder.name) and not os.access(folder, os.R_OK | os.X_OK):
                    raise InputError(f"{folder} cannot be read, which {pattern} lists: permission denied")


def _is_note(part: str) -> bool:
    """Whether a file or folder of this name belongs to the program that wrote a table, not to the table."""
    return part.startswith((".", "_")) and part not in (".", "..")


def _matches(part: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(part, pattern) for pattern in patterns)


def n_rows(path: Path) -> int:
    """Return the number of rows of a table."""
    return sum(pq.read_metadata(file).num_rows for file in shards(path))


def columns(path: Path, names: Sequence[str]) -> pa.Table:
    """Return the columns of these names; one that only some files encode by a dictionary is decoded.

    Raises:
        InputError: the files have different types of a column that cannot be joined.
    """
    files = shards(path)
    parts = [pq.ParquetFile(file).read(columns=list(names)) for file in files]
    for name in names:
        if len({pa.types.is_dictionary(part[name].type) for part in parts}) == 2:
            parts = [_decoded(part, name) for part in parts]
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        for name in names:
            kinds = {part[name].type: file for part, file in zip(reversed(parts), reversed(files), strict=True)}
            if len(kinds) > 1:
                found = " and ".join(f"{kind} in {file}" for kind, file in kinds.items())
                raise InputError(f"the type of the column {name!r} is {found}: write it with one type") from None
        raise


def decoded(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a dictionary-encoded column as its values."""
    values = column.type.value_type
    if not pa.types.is_string_view(values):
        return column.cast(values)
    # Arrow does not cast dictionaries of string views, as polars writes its categories.
    chunks = [chunk.dictionary.cast(pa.string()).take(chunk.indices) for chunk in column.chunks]
    return pa.chunked_array(chunks, pa.string())


def _decoded(table: pa.Table, name: str) -> pa.Table:
    """Return the table with one column decoded, if it is encoded."""
    if not pa.types.is_dictionary(table[name].type):
        return table
    return table.set_column(table.schema.get_field_index(name), name, decoded(table[name]))


def damaged(path: Path) -> Path:
    """Return the first file of a table that is not a Parquet file; the path itself if all are."""
    for file in shards(path):
        try:
            pq.read_metadata(file)
        except (OSError, pa.ArrowInvalid):
            return file
    return path


def place(path: Path, row: int) -> str:
    """Return the location of row `row` (from 0) of a table."""
    files = shards(path)
    ends = list(accumulate(pq.read_metadata(file).num_rows for file in files))
    at = next(i for i, end in enumerate(ends) if row < end)
    return f"row {row - (ends[at - 1] if at else 0) + 1} of {files[at]}"
