"""HTML pages and their elements; a page is one file that works offline.

Jinja2 escapes all text; `Html` marks strings that are already markup.
"""

import base64
import functools
import gzip
import math
import re
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup as Html
from plotly.offline import get_plotlyjs


class Cell(NamedTuple):
    """A table cell: text, CSS class, sort key, and a note in small type below the text."""

    text: object
    style: str = "number"
    key: object = ""
    note: str = ""


def page(title: str, body: Iterable[Html]) -> str:
    """Return the complete page, including Plotly's JavaScript."""
    return _templates().get_template("page.html").render(title=title, body=Html("\n").join(body), plotly=_plotly())


def piece(name: str, *values: object) -> Html:
    """Render a macro of pieces.html."""
    return getattr(_templates().get_template("pieces.html").module, name)(*values)


def tag(name: str, text: object, style: str = "") -> Html:
    """Return an HTML element."""
    opening = Html('<{} class="{}">').format(name, style) if style else Html("<{}>").format(name)
    return opening + Html("{}</{}>").format(text, name)


def section(title: str, *parts: Html) -> Html:
    """Return a section with a heading."""
    return tag("section", tag("h2", title) + Html("").join(parts))


def box(*parts: Html) -> Html:
    """Return a framed box."""
    return tag("div", Html("").join(parts), "box")


def grid(parts: Sequence[Html], style: str = "grid") -> Html:
    """Return a responsive grid; the style `grid three` puts up to three parts in a row."""
    return tag("div", Html("").join(parts), style)


def details(title: str, content: Html) -> Html:
    """Return collapsible content, expanded by a click on its title."""
    return tag("details", tag("summary", title) + content)


def cards(*figures: tuple[str, str, str]) -> Html:
    """Return cards of key figures: name, value and note."""
    return piece("cards", figures)


def facts(*pairs: tuple[str, object]) -> Html:
    """Return a compact list of names and values."""
    return piece("facts", pairs)


def table(
    heads: Sequence[str],
    rows: Iterable[Iterable[object]],
    *,
    above: Sequence[tuple[str, int]] = (),
    sortable: bool = False,
    thousands: bool = False,
) -> Html:
    """Return a table that scrolls horizontally if it is too wide.

    Args:
        heads: column headers; empty for a table of names and values.
        rows: plain values or `Cell`s.
        above: an additional header row, each header with the number of columns that it spans.
        sortable: whether a click on a header sorts the rows.
        thousands: whether to write integers with thousands separators, 12,997.
    """
    cells = [[_cell(value, thousands) for value in row] for row in rows]
    columns = zip(*cells, strict=True)
    if not heads:  # names and values: numbers among them do not stand apart
        cells = [[cell._replace(style="text") for cell in row] for row in cells]
    styles = ["number" if any("number" in cell.style for cell in column) else "" for column in columns]
    named = [(_breakable(head), style) for head, style in zip_longest(heads, styles, fillvalue="")]
    classes = " ".join(name for name, applies in (("sortable", sortable), ("many", len(heads) > 3)) if applies)
    return piece("table", named if heads else [], above, cells, sortable, classes)


def frame(data: pd.DataFrame, *, sortable: bool = False, thousands: bool = False) -> Html:
    """Return a data frame as a table."""
    rows = data.astype(object).itertuples(index=False)
    return table([str(column) for column in data], rows, sortable=sortable, thousands=thousands)


def decimals(value: float | None) -> str:
    """Format a metric value with four decimals."""
    return "n/a" if _missing(value) else f"{value:.4f}"


def interval(low: float | None, high: float | None) -> str:
    """Format an interval with four decimals; empty if it is unknown."""
    return "" if _missing(low) or _missing(high) else f"{low:.4f} to {high:.4f}"


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `1 user`, `2 users`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


@functools.cache
def _templates() -> Environment:
    loader = PackageLoader("jaxrec.page", ".")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )


@functools.cache
def _plotly() -> str:
    """Return Plotly's JavaScript, compressed from 4.8 to 2 MB."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), compresslevel=5, mtime=0)).decode()


def _breakable(text: str) -> Html:
    """Allow line breaks after dots and underscores between letters and after `=`, for narrow columns of settings."""
    return Html("<wbr>").join(re.split(r"(?<=[a-z][._])(?=[a-z])|(?<==)(?=\w)", text))


def _cell(value: object, thousands: bool) -> Cell:
    if isinstance(value, Cell):
        return value
    text = _text(value, thousands)
    # Sort by the value, not by its text.
    return Cell(
        _breakable(text) if type(text) is str else text,
        "number" if _is_number(value) else "text",
        "" if _missing(value) else value,
    )


def _text(value: object, thousands: bool = False) -> object:
    if _missing(value):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(_text(item)) for item in value)
    if thousands and isinstance(value, int | np.integer):
        return f"{value:,}"
    return f"{value:.5g}" if isinstance(value, float) else value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and not _missing(value)


def _missing(value: object) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))
