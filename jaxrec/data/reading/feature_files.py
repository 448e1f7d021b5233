"""Features of users or items from a file of your own: one row an id, one column a feature.

What a column is follows, in this order, from its name in `Columns`, from a typed header (`class:token_seq`, as atomic
files have it), from its Parquet type, and from its values, if they are text: all numbers (none written like "007") or
all ISO dates make it numerical, a separator in more than a tenth of them makes it multi-valued, all else is text.
Whether text is a category or too free to be one is decided where vocabularies are made, see `features`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.reading import tables
from jaxrec.data.reading.decimals import HINT, Decimal, has_commas, pointed
from jaxrec.errors import InputError

OFTEN = 0.1  # the share of values with a separator above which a column of text is multi-valued
TYPES = {"token": "categorical", "token_seq": "multi_valued", "float": "numerical"}  # of typed headers


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are said to be of a kind; `separator` splits values; `max_text` cuts longer text."""

    categorical: tuple[str, ...] = ()
    multi_valued: tuple[str, ...] = ()
    numerical: tuple[str, ...] = ()
    separator: str = "|"
    max_text: int | None = None

    def kinds(self) -> dict[str, str]:
        """Column → kind."""
        return {name: kind for kind in TYPES.values() for name in getattr(self, kind)}

    def check(self, files: Sequence[tables.Source], delimiter: str | None = None, encoding: str = "utf-8") -> None:
        """Raises InputError at a name that no file has, or that is given two kinds."""
        named = [name for kind in TYPES.values() for name in getattr(self, kind)]
        there = [name.split(":")[0] for file in files for name in tables.header(file, delimiter, encoding)]
        for name in named:
            if name not in there:
                have = (
                    ", ".join(map(repr, dict.fromkeys(there))) or "none: give data.user_features or data.item_features"
                )
                raise InputError(f"data.{self.kinds()[name]} names a column {name!r}; the feature files have {have}")
            if named.count(name) > 1:
                raise InputError(f"the feature {name!r} is named twice: name it once, as of one kind")


def feature_columns(
    path: tables.Source,
    key: str,
    id_column: str,
    columns: Columns,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    decimal: Decimal = ".",
) -> tuple[pa.ChunkedArray, pd.DataFrame, dict[str, int]]:
    """The ids of a file, its other columns as `features` takes them, and notes: what was left out or cut.

    key: the setting that names the column of ids, for messages
    """
    typed = dict(name.partition(":")[::2] for name in tables.header(path, delimiter, encoding))
    if id_column not in typed and len(typed) > 1:  # one column: the delimiter is another, which `tables` tells
        names = ", ".join(map(repr, typed))
        raise InputError(
            f"{path} has no column {id_column!r}, the name of ids by {key}: rename the column that holds them; "
            f"it has {names}"
        )
    wanted = {key: id_column} | {name: name for name in typed if name != id_column}
    table = tables.read(path, wanted, delimiter, encoding)
    where = partial(tables.place, path, delimiter=delimiter)
    kinds = {name: TYPES[kind] for name, kind in typed.items() if kind in TYPES} | columns.kinds()
    frame: dict[str, pd.Series] = {}
    notes: dict[str, int] = {}
    for name in table.column_names[1:]:
        column, said = tables.plain(table[name]), f"{path}, column {name!r},"
        _refuse_type(column.type, said, kinds.get(name))
        if name not in kinds and decimal == "." and pa.types.is_string(column.type) and has_commas(column):
            raise InputError(
                f"{said} holds numbers such as {_with_comma(column)!r}: {HINT}, or name {name} in data.categorical "
                "or data.multi_valued"
            )
        pointed_out = pointed(column, decimal)
        kind = kinds.get(name) or _kind(table[name].type, pointed_out, columns.separator)
        column = pointed_out if kind == "numerical" else column
        if kind == "numerical":
            frame[name] = _numerical(column, name, where)
        elif kind == "multi_valued":
            atomic = typed.get(name) == "token_seq" and name not in columns.multi_valued
            frame[name] = _multi_valued(column, " " if atomic else columns.separator, said)
        else:
            if columns.max_text is not None and pa.types.is_string(column.type):
                if long := pc.sum(pc.greater(pc.utf8_length(column), columns.max_text)).as_py():
                    notes[f"values of {name} longer than {columns.max_text} characters, cut"] = long
                column = pc.utf8_slice_codeunits(column, 0, columns.max_text)
            frame[name] = column.to_pandas().astype("category") if kind == "categorical" else column.to_pandas()
    return table[key], pd.DataFrame(frame), notes


def _refuse_type(kind: pa.DataType, said: str, named: str | None) -> None:
    """Raises InputError for a type of which no feature can be made, `named` being the kind that is asked for."""
    inner = kind.value_type if _is_list(kind) else kind
    if _is_list(kind) and (pa.types.is_floating(inner) or pa.types.is_decimal(inner)):
        raise InputError(
            f"{said} holds {kind}, such as embeddings, which are no features yet: leave the column out of the file, or "
            "write one column a number"
        )
    if _is_list(kind) and named == "numerical":
        raise InputError(f"{said} holds {kind} and data.numerical names it: name it in data.multi_valued")
    known = tables.is_scalar(inner) or pa.types.is_dictionary(inner) or pa.types.is_large_string(inner)
    if not (known or pa.types.is_string_view(inner)):
        raise InputError(f"{said} holds {kind}, of which no feature can be made: drop the column or write it as text")


def _with_comma(column: pa.ChunkedArray) -> str:
    return str(column[pc.index(pc.fill_null(pc.match_substring(column, ","), False), True).as_py()].as_py())


def _kind(written: pa.DataType, column: pa.ChunkedArray, separator: str) -> str:
    """The kind of a column, as by `plain`, of which nothing is said but its type in the file."""
    kind = column.type
    if _is_list(kind):
        return "multi_valued"
    if pa.types.is_dictionary(written) or pa.types.is_boolean(kind):
        return "categorical"
    if pa.types.is_null(kind):
        return "text"
    if not pa.types.is_string(kind):
        return "numerical"
    if _parsed(column) is not None:
        return "text" if pc.any(pc.match_substring_regex(column, r"^\s*-?0\d+$")).as_py() else "numerical"
    return "multi_valued" if (pc.mean(pc.match_substring(column, separator)).as_py() or 0) > OFTEN else "text"


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _parsed(text: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Strings as numbers, or as times; None if not all of them are of one kind."""
    text = pc.utf8_trim_whitespace(text)
    for kind in (pa.float64(), pa.timestamp("ms"), pa.timestamp("ms", "UTC")):
        try:
            return text.cast(kind)
        except pa.ArrowInvalid:
            continue
    return None


def _multi_valued(column: pa.ChunkedArray, separator: str, said: str) -> pd.Series:
    if _is_list(column.type):
        return column.to_pandas()
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    lists = pc.split_pattern_regex(text, rf"\s*{re.escape(separator)}\s*")
    values = pc.list_flatten(lists)
    fractions = pc.any(pc.match_substring_regex(values, r"\d\.\d")).as_py()
    if fractions and pa.types.is_floating(kind.type if (kind := _parsed(values)) is not None else pa.null()):
        raise InputError(
            f"{said} holds lists of decimal numbers, such as embeddings, which are no features yet: leave the column "
            "out of the file, or write one column a number"
        )
    return lists.to_pandas()


def _numerical(column: pa.ChunkedArray, name: str, where: Callable[[int], str]) -> pd.Series:
    if not pa.types.is_string(column.type):
        return column.to_pandas()
    parsed = _parsed(column)
    if parsed is None:
        text = column.to_pandas()
        row = int((pd.to_numeric(text, errors="coerce").isna() & text.notna()).to_numpy().argmax())
        raise InputError(
            f"{where(row)} has {text[row]!r} as {name}, which is neither a number nor an ISO date: mend it, or name "
            f"{name} in data.categorical" + (f"; {HINT}" if "," in text[row] else "")
        )
    return parsed.to_pandas()
