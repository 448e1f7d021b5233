"""Pieces of an HTML page, and the page itself: one file that needs no network.

Jinja2 escapes all text on its way in; `Html` marks what is markup already.
"""

import base64
import functools
import gzip
import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup as Html
from plotly.offline import get_plotlyjs


class Cell(NamedTuple):
    """A table cell: its text, a CSS class, the value that it sorts by, and a small line below the text."""

    text: Any
    style: str = "number"
    key: Any = ""
    note: str = ""


def page(title: str, body: Iterable[Html]) -> str:
    """The whole page, with the Plotly that draws its charts."""
    return _templates().get_template("page.html").render(title=title, body=Html("\n").join(body), plotly=_plotly())


def piece(name: str, *values: Any) -> Html:
    """One macro of pieces.html, filled in."""
    return getattr(_templates().get_template("pieces.html").module, name)(*values)


def tag(name: str, text: Any, style: str = "") -> Html:
    """One element."""
    opening = Html('<{} class="{}">').format(name, style) if style else Html("<{}>").format(name)
    return opening + Html("{}</{}>").format(text, name)


def section(title: str, *parts: Html) -> Html:
    """A heading and what is below it."""
    return tag("section", tag("h2", title) + Html("").join(parts))


def box(*parts: Html) -> Html:
    """A framed part."""
    return tag("div", Html("").join(parts), "box")


def grid(parts: Sequence[Html], style: str = "grid") -> Html:
    """Parts side by side where there is room; `grid three` puts up to three in a row."""
    return tag("div", Html("").join(parts), style)


def details(title: str, content: Html) -> Html:
    """Content that shows after a click on its title."""
    return tag("details", tag("summary", title) + content)


def cards(*shown: tuple[str, str, str]) -> Html:
    """Key figures: name, value and a remark."""
    return piece("cards", shown)


def facts(*pairs: tuple[str, Any]) -> Html:
    """Names and values in a compact list."""
    return piece("facts", pairs)


def table(
    heads: Sequence[str],
    rows: Iterable[Iterable[Any]],
    *,
    above: Sequence[tuple[str, int]] = (),
    sortable: bool = False,
    thousands: bool = False,
) -> Html:
    """A table that scrolls by itself where it is wider than its place.

    Args:
        heads: one for each column; none for a table of names and values.
        rows: plain values or `Cell`s.
        above: a first line of heads, each with the number of columns that it spans.
        sortable: a click on a head sorts.
        thousands: whole numbers are counts, written 12,997.
    """
    cells = [[_cell(value, thousands) for value in row] for row in rows]
    columns = zip(*cells, strict=True)
    styles = ["number" if any("number" in cell.style for cell in column) else "" for column in columns]
    named = [(_breakable(head), style) for head, style in zip_longest(heads, styles, fillvalue="")]
    kinds = " ".join(name for name, wanted in (("sortable", sortable), ("many", len(heads) > 3)) if wanted)
    return piece("table", named if heads else [], above, cells, sortable, kinds)


def frame(data: pd.DataFrame, *, sortable: bool = False, thousands: bool = False) -> Html:
    """A data frame as a table."""
    rows = data.astype(object).itertuples(index=False)
    return table([str(column) for column in data], rows, sortable=sortable, thousands=thousands)


def decimals(value: float | None) -> str:
    """A metric."""
    return "n/a" if _missing(value) else f"{value:.4f}"


def plural(count: int, noun: str) -> str:
    """`1 user`, `2 users`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


@functools.cache
def _templates() -> Environment:
    loader = PackageLoader("jaxrec.page", ".")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )


@functools.cache
def _plotly() -> str:
    """Plotly's JavaScript, compressed: 2 MB instead of 4.8."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _breakable(head: str) -> Html:
    """A head that may wrap after the dots and underscores of a key, so that narrow columns need not be clipped."""
    return Html("<wbr>").join(re.split(r"(?<=[._])(?=\w)", head))


def _cell(value: Any, thousands: bool) -> Cell:
    if isinstance(value, Cell):
        return value
    # Sorting goes by the value, not by how it is written.
    return Cell(_text(value, thousands), "number" if _is_number(value) else "text", "" if _missing(value) else value)


def _text(value: Any, thousands: bool = False) -> Any:
    if _missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(_text(item)) for item in value)
    if thousands and isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and not _missing(value)


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
