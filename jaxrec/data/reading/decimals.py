"""Decimal commas: conversion of numbers such as 3,5 in text columns."""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

Decimal = Literal[".", ","]
HINT = "for decimal commas, set 'data.decimal=\",\"'"
COMMA = r"^\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?\s*$"
POINT = r"^\s*[+-]?\d*\.\d+(?:[eE][+-]?\d+)?\s*$"


def hint(value: object, decimal: Decimal) -> str:
    """Return advice for text that is not a number because of its commas, to append to a message; else empty."""
    if not isinstance(value, str) or "," not in value:
        return ""
    if "." in value or value.count(",") > 1:
        return "; write numbers without separators of thousands"
    return f"; {HINT}" if decimal == "." else ""


def with_decimal_points(column: pa.ChunkedArray, decimal: Decimal) -> pa.ChunkedArray:
    """Convert decimal commas in a text column to decimal points.

    With `decimal` "," a number with a point, such as 1.234, is ambiguous and becomes text that does not parse as a
    number. Other text is unchanged.
    """
    if decimal == "." or not pa.types.is_string(column.type):
        return column
    ambiguous = pc.match_substring_regex(column, POINT)
    swapped = pc.if_else(pc.match_substring_regex(column, COMMA), pc.replace_substring(column, ",", "."), column)
    return pc.if_else(ambiguous, pc.binary_join_element_wise(column, " (a decimal point)", ""), swapped)


def has_commas(column: pa.ChunkedArray) -> bool:
    """Return whether a text column contains only numbers, some with a decimal comma."""
    numbers = pc.match_substring_regex(column, COMMA)
    whole = pc.match_substring_regex(column, r"^\s*[+-]?\d+\s*$")
    return bool(pc.any(numbers).as_py()) and bool(pc.all(pc.or_(numbers, whole)).as_py())
