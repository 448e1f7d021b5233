"""Numbers in text whose decimals stand behind a comma, as much of Europe writes them."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

Decimal = Literal[".", ","]
HINT = "where commas separate decimals, set 'data.decimal=\",\"'"
COMMA = r"^\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*$"
POINT = r"^\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*$"


def pointed(column: pa.ChunkedArray, decimal: Decimal) -> pa.ChunkedArray:
    """A column whose numbers, where they are text, have their decimals behind a point.

    With `decimal` "," a number written with a point, such as 1.234, becomes a text that is no number: whether it is
    above 1,000 or below 2 cannot be told. Other text stays as it is.
    """
    if decimal == "." or not pa.types.is_string(column.type):
        return column
    unclear = pc.match_substring_regex(column, POINT)
    swapped = pc.if_else(pc.match_substring_regex(column, COMMA), pc.replace_substring(column, ",", "."), column)
    return pc.if_else(unclear, pc.binary_join_element_wise(column, " (a decimal point)", ""), swapped)


def has_commas(column: pa.ChunkedArray) -> bool:
    """Whether text is numbers, some with a decimal comma: what `data.decimal=","` is for."""
    numbers = pc.match_substring_regex(column, COMMA)
    whole = pc.match_substring_regex(column, r"^\s*[+-]?\d+\s*$")
    return bool(pc.any(numbers).as_py()) and bool(pc.all(pc.or_(numbers, whole)).as_py())
