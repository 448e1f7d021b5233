"""Feature files of users or items: one row per id, one column per feature.

The kind of a column is determined, in this order, by its name in `Columns`, a typed header (`class:token_seq`, as in
atomic files), its Parquet type, and, for text, its values: if all are numbers (none like "007") or all ISO dates, the
column is numerical; if more than a tenth contain a separator, multi-valued; otherwise text. Lists of decimal numbers
are dense vectors. Text is classified as categorical or free text when vocabularies are fitted, see `features`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.reading import tables
from jaxrec.data.reading.columns import ids_of
from jaxrec.data.reading.decimals import HINT, Decimal, has_commas, hint, with_decimal_points
from jaxrec.errors import InputError

MULTI_VALUED_SHARE = 0.1  # a text column is multi-valued if a larger share of its values contains a separator
TYPES = {"token": "categorical", "token_seq": "multi_valued", "float": "numerical"}  # types in headers → kinds


@dataclass(frozen=True)
class Columns:
    """Configured column kinds.

    Attributes:
        categorical, multi_valued, numerical: names of the columns of each kind.
        separator: separates the values of multi-valued columns.
        max_text: length at which text is truncated; None: no limit.
    """

    categorical: tuple[str, ...] = ()
    multi_valued: tuple[str, ...] = ()
    numerical: tuple[str, ...] = ()
    separator: str = "|"
    max_text: int | None = None

    def kinds(self) -> dict[str, str]:
        """Return column → kind."""
        return {name: kind for kind in TYPES.values() for name in getattr(self, kind)}

    def check(self, files: Sequence[tables.Source], delimiter: str | None = None, encoding: str = "utf-8") -> None:
        """Raise InputError if no file has one of the columns, or a column has two kinds."""
        names = [name for kind in TYPES.values() for name in getattr(self, kind)]
        header = [name.split(":")[0] for file in files for name in tables.header(file, delimiter, encoding)]
        for name in names:
            if name not in header:
                columns = (
                    ", ".join(map(repr, dict.fromkeys(header))) or "none: set data.user_features or data.item_features"
                )
                raise InputError(f"data.{self.kinds()[name]} names a column {name!r}; the feature files have {columns}")
            if names.count(name) > 1:
                raise InputError(f"the feature {name!r} is listed twice: list it once, under one kind")


def read_features(
    sources: Mapping[str, tuple[tables.Source, str, str]],
    columns: Columns,
    delimiter: str | None,
    encoding: str,
    decimal: Decimal,
) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, int]]]:
    """Read the feature files; return their tables and notes, by kind.

    Args:
        sources: file, setting and name of the id column, by kind: user, item.
        columns: configured column kinds.
        delimiter, encoding, decimal: see `files`.

    Raises:
        InputError: as `feature_columns`, or a configured column does not exist.
    """
    columns.check([file for file, *_ in sources.values()], delimiter, encoding)
    features: dict[str, pd.DataFrame] = {}
    notes: dict[str, dict[str, int]] = {}
    for kind, (file, key, name) in sources.items():
        ids, features[kind], notes[kind] = feature_columns(file, key, name, columns, delimiter, encoding, decimal)
        place = partial(tables.place, file, delimiter=delimiter)
        features[kind][f"{kind}_id"] = ids_of(key, name, [pa.table({key: tables.scalars(ids, key, name)})], [place])
    return features, notes


def feature_columns(
    path: tables.Source,
    key: str,
    id_column: str,
    columns: Columns,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    decimal: Decimal = ".",
) -> tuple[pa.ChunkedArray, pd.DataFrame, dict[str, int]]:
    """Read a feature file.

    Args:
        path: the file or table.
        key: the setting that names the id column, for messages.
        id_column: name of the id column.
        columns: configured column kinds.
        delimiter, encoding, decimal: see `files`.

    Returns:
        The ids, the other columns in the form that `features` expects, and notes on truncated values.

    Raises:
        InputError: the id column is missing, or a column cannot be read as its kind.
    """
    typed = dict(name.partition(":")[::2] for name in tables.header(path, delimiter, encoding))
    if id_column not in typed and len(typed) > 1:  # a single column means a wrong delimiter, reported by `tables`
        names = ", ".join(map(repr, typed))
        raise InputError(
            f"{path} has no column {id_column!r} (set by {key}): rename the id column; the columns are {names}"
        )
    column_names = {key: id_column} | {name: name for name in typed if name != id_column}
    table = tables.read(path, column_names, delimiter, encoding)
    where = partial(tables.place, path, delimiter=delimiter)
    kinds = {name: TYPES[kind] for name, kind in typed.items() if kind in TYPES} | columns.kinds()
    frame: dict[str, pd.Series] = {}
    notes: dict[str, int] = {}
    for name in table.column_names[1:]:
        column, source = tables.plain(table[name]), f"{path}, column {name!r},"
        _reject_type(column.type, source, kinds.get(name))
        if name not in kinds and decimal == ".":
            options = f"{HINT}, or list {name} in data.categorical or data.multi_valued"
            _reject_commas(column, source, options if key.startswith("data.") else "write them with decimal points")
        with_points = with_decimal_points(column, decimal)
        kind = kinds.get(name) or _kind(table[name].type, with_points, columns.separator, typed.get(name))
        if kind == "numerical":
            frame[name] = _numerical(with_points, name, where)
        elif kind == "multi_valued":
            atomic = typed.get(name) in ("token_seq", "float_seq") and name not in columns.multi_valued
            values = _multi_valued(column, " " if atomic else columns.separator)
            frame[name] = _vectors(values, name, where) if _has_vectors(values, typed.get(name)) else values.to_pandas()
        else:
            text, n_cut = _text(column, columns.max_text)
            frame[name] = text.astype("category") if kind == "categorical" else text
            if n_cut:
                notes[f"values of {name} longer than {columns.max_text} characters, cut"] = n_cut
    return table[key], pd.DataFrame(frame), notes


def _reject_type(kind: pa.DataType, source: str, configured: str | None) -> None:
    """Raise InputError if the column type is not supported, or not for the `configured` kind."""
    inner = kind.value_type if _is_list(kind) else kind
    if _is_list(kind) and configured == "numerical":
        raise InputError(f"{source} contains {kind} but is listed in data.numerical: list it in data.multi_valued")
    known = tables.is_scalar(inner) or pa.types.is_dictionary(inner) or pa.types.is_large_string(inner)
    if not (known or pa.types.is_string_view(inner)):
        raise InputError(f"{source} contains {kind}, which is not supported: drop the column or write it as text")


def _reject_commas(column: pa.ChunkedArray, source: str, remedy: str) -> None:
    """Raise InputError for text of numbers with decimal commas."""
    if pa.types.is_string(column.type) and has_commas(column):
        first = column[pc.index(pc.fill_null(pc.match_substring(column, ","), False), True).as_py()].as_py()
        raise InputError(f"{source} contains numbers such as {first!r}: {remedy}")


def _text(column: pa.ChunkedArray, max_text: int | None) -> tuple[pd.Series, int]:
    """Return a column of text without blanks around it, and how many values were cut; other columns as they are."""
    if not pa.types.is_string(column.type):
        return column.to_pandas(), 0
    column, n_cut = _without_blanks(column), 0
    if max_text is not None:
        n_cut = pc.sum(pc.greater(pc.utf8_length(column), max_text)).as_py() or 0
        column = pc.utf8_slice_codeunits(column, 0, max_text)
    return column.to_pandas(), n_cut


def _kind(written: pa.DataType, column: pa.ChunkedArray, separator: str, typed: str | None) -> str:
    """Infer the kind of a column that is not configured, from its header, type and values."""
    kind = column.type
    if _is_list(kind) or typed == "float_seq":
        return "multi_valued"
    if pa.types.is_dictionary(written) or pa.types.is_boolean(kind):
        return "categorical"
    if pa.types.is_null(kind):
        return "text"
    if not pa.types.is_string(kind):
        return "numerical"
    if _parsed(column) is not None:
        return "text" if pc.any(pc.match_substring_regex(column, r"^\s*-?0\d+$")).as_py() else "numerical"
    return (
        "multi_valued" if (pc.mean(pc.match_substring(column, separator)).as_py() or 0) > MULTI_VALUED_SHARE else "text"
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _parsed(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Parse strings as numbers or as times; None if neither fits all of them."""
    text = pc.utf8_trim_whitespace(text)
    for kind in (pa.float64(), pa.timestamp("ms"), pa.timestamp("ms", "UTC")):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _without_blanks(text: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return text in one Unicode form without blanks around it, missing where nothing is left."""
    text = pc.utf8_trim_whitespace(pc.utf8_normalize(text, form="NFC"))
    return pc.if_else(pc.equal(text, ""), None, text)


def _multi_valued(column: pa.ChunkedArray, separator: str) -> pa.ChunkedArray:
    """Return lists, of text split at the separator; names have no blanks around them."""
    if _is_list(column.type):
        whole = column.combine_chunks()
        values = tables.plain(pa.chunked_array([pc.list_flatten(whole)]))
        if not pa.types.is_string(values.type):
            return column
        ends = np.cumsum(pc.fill_null(pc.list_value_length(whole), 0).to_numpy())
        names = _without_blanks(values).combine_chunks()
        return pa.chunked_array([pa.LargeListArray.from_arrays(np.append(0, ends), names, mask=whole.is_null())])
    text = _without_blanks(column.cast(pa.string()))
    return pc.split_pattern_regex(text, rf"\s*{re.escape(separator)}\s*")


def _has_vectors(lists: pa.ChunkedArray, typed: str | None) -> bool:
    """Return whether lists are dense vectors: of a decimal type, or text of numbers that are not all whole."""
    inner = lists.type.value_type
    if pa.types.is_floating(inner) or pa.types.is_decimal(inner) or typed == "float_seq":
        return True
    values = pc.list_flatten(lists)
    if not pa.types.is_string(inner) or not pc.any(pc.match_substring_regex(values, r"\d\.\d")).as_py():
        return False
    parsed = _parsed(values)
    return parsed is not None and pa.types.is_floating(parsed.type)


def _vectors(lists: pa.ChunkedArray, name: str, where: Callable[[int], str]) -> pd.Series:
    """Return lists of one length as arrays of floats; None where missing."""
    whole = lists.combine_chunks()
    lengths = pc.list_value_length(whole).to_pandas().to_numpy(np.float64)
    known = lengths[~np.isnan(lengths)]
    if (wrong := np.flatnonzero(~np.isnan(lengths) & (lengths != known[:1].sum()))).size:
        raise InputError(
            f"{where(int(wrong[0]))} has {lengths[wrong[0]]:.0f} numbers in {name}, and the first vector has "
            f"{known[0]:.0f}: a dense vector needs the same length in all rows"
        )
    values = pc.list_flatten(whole)
    try:
        numbers = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        numbers = pd.to_numeric(values.to_pandas(), errors="coerce").to_numpy(np.float64)
    vectors = iter(numbers.reshape(len(known), -1) if len(known) else ())
    rows = [None if np.isnan(length) else next(vectors) for length in lengths]
    for row, vector in enumerate(rows):
        if vector is not None and not np.isfinite(vector).all():
            raise InputError(
                f"{where(row)} has an entry in {name} that is not a finite number: fix it, or leave the vector empty"
            )
    return pd.Series(rows, dtype=object)


def _numerical(column: pa.ChunkedArray, name: str, where: Callable[[int], str]) -> pd.Series:
    """Return numbers or dates; InputError for other text, and for infinite numbers."""
    parsed = _parsed(column) if pa.types.is_string(column.type) else column
    if parsed is None:
        text = column.to_pandas()
        numbers = pd.to_numeric(text, errors="coerce")
        dates = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        unread = min(numbers.isna(), dates.isna(), key=lambda missing: int(missing.sum())) & text.notna()
        row = int(unread.to_numpy().argmax())
        raise InputError(
            f"{where(row)} has {text[row]!r} as {name}, which is neither a number nor an ISO date: fix it, or list "
            f"{name} in data.categorical" + hint(text[row], ".")
        )
    if pa.types.is_floating(parsed.type) and (row := pc.index(pc.is_inf(parsed), True).as_py()) >= 0:
        raise InputError(f"{where(row)} has an infinite number as {name}: fix it, or leave it empty")
    return parsed.to_pandas()
