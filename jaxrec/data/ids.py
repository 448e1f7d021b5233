"""Canonical form of user and item ids, independent of their source.

An id is text or an integer; ids with the same text form are equal: 7, "7", 7.0 and "7.0" are the same id (pandas writes
integer columns with missing values as floats), "007" is a different one. Rejected are floats that are not integers or
too large to be exact (2^53), text of such floats ("1.3085e+17"), and booleans. Text such as "2.5" is a valid id.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import InputError

AS_FLOAT = r"^(0|-?[1-9][0-9]*)\.0+$"  # an integer written as a float
ROUNDED = r"^-?[0-9](\.[0-9]+)?[eE]\+[0-9]+$"  # large floats as spreadsheets and pandas write them
EXACT = {2: 2**11, 4: 2**24, 8: 2**53}  # bytes of a float → limit from which integers are no longer exact
REMEDY = "write ids as integers or as text (in pandas: dtype='Int64' or str)"

Where = Callable[[int], str]


def exact(column: pa.ChunkedArray, name: str, where: Where) -> pa.ChunkedArray:
    """Return ids as int64 if all of them are integers that fit, else as text; nulls are kept.

    Args:
        column: any number, text or binary type; int64 is returned unchanged.
        name: name of the column in error messages.
        where: maps a row (from 0) to its location, for error messages.

    Raises:
        InputError: the column type or an id is invalid, see the module docstring.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return exact(column.cast(kind.value_type), name, where)
    if pa.types.is_null(kind):
        return column.cast(pa.int64())
    if pa.types.is_boolean(kind):
        raise InputError(f"{name}: {where(0)} is true or false, not an id: name the column of ids")
    if pa.types.is_floating(kind):
        return _of_floats(column, name, where)
    if pa.types.is_decimal(kind):
        column = _of_decimals(column, name, where)
    elif not (pa.types.is_integer(kind) or _is_text(kind)):
        raise InputError(f"{name} has the type {kind}, but ids are text or integers: {REMEDY}")
    if pa.types.is_integer(column.type):
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:  # beyond int64
            pass
    try:
        text = column.cast(pa.string())
    except pa.ArrowInvalid as error:
        raise InputError(f"{name} contains bytes that are not UTF-8: {REMEDY}") from error
    numbers = whole_numbers(text)
    if numbers is not None:  # integers take a tenth of the time and memory of text
        return numbers
    plain = _of_text(text, name, where)
    numbers = None if plain is text else whole_numbers(plain)
    return plain if numbers is None else numbers


def whole_numbers(text: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array | None:
    """Return Arrow strings as int64, or None unless all are canonical integers ("007", "-0" and "+7" are not)."""
    try:
        text[:1000].cast(pa.int64())  # fail fast: a cast that fails in every row is slow
        numbers = text.cast(pa.int64())
    except pa.ArrowInvalid:  # not a number, or beyond int64
        return None
    return numbers if pc.all(pc.equal(numbers.cast(pa.string()), text), min_count=0).as_py() else None


def canonical(ids: Iterable[object], name: str = "ids") -> np.ndarray:
    """Return ids from Python (list, array, Series, Index, column of Arrow) as int64 if all fit, else as text.

    None, NaN and NA become None.

    Raises:
        InputError: an id is invalid, see the module docstring, or `ids` is not a flat list.
    """
    _check_list(ids, name)
    if isinstance(ids, np.ndarray) and ids.dtype == np.int64:
        return ids
    return as_array(exact(_arrow(ids, name), name, lambda row: f"entry {row + 1}"))


def as_array(ids: pa.ChunkedArray) -> np.ndarray:
    """Convert the result of `exact` to an array as `canonical` returns it."""
    if not ids.null_count:
        return ids.to_numpy()
    text = ids.cast(pa.string()).fill_null("").to_numpy().astype(object)
    text[ids.is_null().to_numpy()] = None
    return text


def as_text(value: object, name: str = "id") -> str | None:
    """Return the canonical text of one id, None if missing; raises InputError as `canonical` does."""
    text = _plain(value, name)
    if text is None or not (".0" in text or "+" in text):
        return text
    return str(canonical([text], name)[0])


class IdTable:
    """Ids by position, with lookup of positions by id."""

    def __init__(self, ids: np.ndarray) -> None:
        self.ids = ids

    def find(self, ids: Iterable[object], name: str = "ids") -> np.ndarray:
        """Return the position of each id, int64; -1 for unknown and missing ids."""
        query = canonical(ids, name)
        if query.dtype == self.ids.dtype == np.int64:
            return self._index.get_indexer(pd.Index(query))
        return self._text.get_indexer(pd.Index(texts(query), dtype=object))

    def rows_of(self, column: pd.Series) -> np.ndarray:
        """Return the position of each id as `find` does; efficient for columns with many repeated ids."""
        codes, labels = pd.factorize(column)
        return np.append(self.find(labels, str(column.name)), -1)[codes]

    @cached_property
    def _index(self) -> pd.Index:
        return pd.Index(self.ids)

    @cached_property
    def _text(self) -> pd.Index:
        return pd.Index(texts(self.ids), dtype=object)


def texts(ids: np.ndarray) -> np.ndarray:
    """Return canonical ids as text objects; None is kept."""
    return ids.astype(str).astype(object) if ids.dtype.kind != "O" else ids


def written_as(ids: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Return canonical ids in the type of an id table: integers if the table has integers (None is kept), else text."""
    if ids.dtype == np.int64:
        return ids if table.dtype == np.int64 else texts(ids)
    known = [i for i in ids if i is not None]
    if table.dtype != np.int64 or whole_numbers(pa.array(known, pa.string())) is None:
        return ids
    return np.array([None if i is None else int(i) for i in ids], object)


def joined(lists: Sequence[Iterable[object]], name: str) -> np.ndarray:
    """Return the concatenated canonical ids of several lists."""
    parts = [canonical(ids, name) for ids in lists]
    if any(ids.dtype != np.int64 for ids in parts):
        parts = [texts(ids) for ids in parts]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _is_text(kind: pa.DataType) -> bool:
    tests = (
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_string_view,
        pa.types.is_binary,
        pa.types.is_large_binary,
    )
    return any(test(kind) for test in tests)


def _of_floats(column: pa.ChunkedArray, name: str, where: Where) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), None, column)
    limit = EXACT[column.type.bit_width // 8]
    column = column.cast(pa.float64())
    large = pc.greater_equal(pc.abs(column), float(limit))  # infinity too
    broken = pc.and_(pc.invert(large), pc.not_equal(column, pc.floor(column)))
    for wrong, why in (
        (large, f"floats of {limit:,} or more are not exact: {REMEDY}"),
        (broken, "ids are text or integers"),
    ):
        if (row := pc.index(wrong, True).as_py()) >= 0:
            raise InputError(f"{name}: {where(row)} has the id {column[row].as_py()}: {why}")
    return column.cast(pa.int64())


def _of_decimals(column: pa.ChunkedArray, name: str, where: Where) -> pa.ChunkedArray:
    broken = pc.not_equal(column, pc.floor(column))
    if (row := pc.index(broken, True).as_py()) >= 0:
        raise InputError(f"{name}: {where(row)} has the id {column[row].as_py()}: ids are text or integers")
    return pa.chunked_array([[None if v is None else str(int(v)) for v in column.to_pylist()]], pa.string())


def _of_text(text: pa.ChunkedArray, name: str, where: Where) -> pa.ChunkedArray:
    """Rewrite text of whole floats ("7.0") as integers ("7")."""
    suspect = pc.or_kleene(pc.match_substring(text, ".0"), pc.match_substring(text, "+"))
    if not pc.any(suspect).as_py():
        return text
    codes = text.dictionary_encode().unify_dictionaries()  # process each distinct id once
    ids = codes.chunk(0).dictionary
    as_float = pc.match_substring_regex(ids, AS_FLOAT)
    whole = pc.if_else(as_float, pc.replace_substring_regex(ids, r"\.0+$", ""), ids)
    long = np.flatnonzero(pc.and_(as_float, pc.greater(pc.utf8_length(whole), 15)))
    beyond = [int(place) for place in long if abs(int(whole[int(place)].as_py())) >= EXACT[8]]
    rounded = np.flatnonzero(pc.match_substring_regex(ids, ROUNDED)).tolist()
    if wrong := sorted(beyond + rounded):
        bad = ids[wrong[0]]
        row = pc.index(text, bad).as_py()
        raise InputError(f"{name}: {where(row)} has the id {bad.as_py()!r}, a rounded float: {REMEDY}")
    return pa.chunked_array([whole.take(chunk.indices) for chunk in codes.chunks], pa.string())


def _check_list(ids: object, name: str) -> None:
    """Raise InputError for a single id, which is not a list, and for tables and arrays of several dimensions."""
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable) or getattr(ids, "ndim", 1) != 1:
        shape = f" of shape {ids.shape}" if hasattr(ids, "shape") else ""
        given = f"{type(ids).__name__}{shape}" if shape or isinstance(ids, Mapping) else repr(ids)
        raise InputError(f"{name}: {given} is not a list of ids: pass a list such as [50, 181], or one column")


def _arrow(ids: Iterable[object], name: str) -> pa.ChunkedArray:
    """Convert ids from Python to an Arrow column without a lossy conversion to floats."""
    if isinstance(ids, pd.Series | pd.Index) and isinstance(ids.dtype, pd.CategoricalDtype):
        ids = ids.astype(object if ids.hasnans else ids.dtype.categories.dtype)
    if isinstance(ids, pd.Series | pd.Index | pd.api.extensions.ExtensionArray) and ids.dtype != object:
        return pa.chunked_array([pa.array(ids, from_pandas=True)])
    if isinstance(ids, np.ndarray) and ids.dtype.kind in "biuf":
        return pa.chunked_array([pa.array(ids)])
    if isinstance(ids, np.ndarray):
        values = ids.tolist()
    else:
        values = ids.to_pylist() if isinstance(ids, pa.Array | pa.ChunkedArray) else list(ids)
    if not set(map(type, values)) <= {str}:
        values = [_plain(value, name) for value in values]
    try:
        return pa.chunked_array([pa.array(values, pa.string())])
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: {error.object!r} cannot be encoded as UTF-8") from error


def _plain(value: Any, name: str) -> str | None:
    """Return the text of one id from Python."""
    match value:
        case str() | UUID():
            return str(value)
        case bool() | np.bool_():
            raise InputError(f"{name}: {value} is not an id: ids are text or integers")
        case int() | np.integer():
            return str(int(value))
        case Decimal() if value.is_finite() and value == int(value):
            return str(int(value))
        case float() | np.floating() if not np.isnan(value):
            number = _of_floats(pa.chunked_array([np.asarray([value])]), name, lambda _: "the list")
            return str(number[0].as_py())
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    raise InputError(f"{name}: {value!r} is not an id: ids are text or integers")
