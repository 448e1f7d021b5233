"""Pieces of an HTML page, and the page itself: one file that asks for nothing from outside.

Text is escaped on its way in; `Html` marks what is markup already.
"""

import base64
import functools
import gzip
import html
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from itertools import zip_longest
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs


class Html(str):
    """Markup; whatever came from outside is escaped in it."""

    __slots__ = ()


def page(title: str, body: Iterable[Html]) -> str:
    """The whole page, charts drawn by a Plotly that it brings along."""
    template = Template(files("jaxrec.page").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(title=escape(title), body="\n".join(body), plotly=_plotly())


@functools.cache
def _plotly() -> str:
    """Plotly's JavaScript, compressed: 2 MB instead of 4.8."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def tag(name: str, text: Any, style: str = "") -> Html:
    """One element."""
    return Html(f'<{name} class="{style}">{escape(text)}</{name}>' if style else f"<{name}>{escape(text)}</{name}>")


def section(title: str, *parts: Html) -> Html:
    """A heading and what is below it."""
    return Html(f"<section>{tag('h2', title)}{''.join(parts)}</section>")


def box(*parts: Html) -> Html:
    """A framed part."""
    return tag("div", Html("".join(parts)), "box")


def grid(parts: Sequence[Html], style: str = "grid") -> Html:
    """Parts side by side where there is room; `grid three` puts up to three in a row."""
    return tag("div", Html("".join(parts)), style)


def details(title: str, content: Html) -> Html:
    """What is shown once its title is clicked."""
    return tag("details", Html(tag("summary", title) + content))


def cards(*said: tuple[str, str, str]) -> Html:
    """Figures to see first: what, how much, and a remark."""
    shown = (f"<div>{escape(name)}{tag('b', value)}{tag('small', note)}</div>" for name, value, note in said)
    return tag("div", Html("".join(shown)), "cards")


def table(
    heads: Sequence[str], rows: Iterable[Iterable[Any]], *, sortable: bool = False, thousands: bool = False
) -> Html:
    """A table that scrolls by itself where it is larger than its place; without heads, each row's first cell is one.

    sortable: a click on a head sorts; thousands: whole numbers are counts, written 12,997
    """
    rows = [tuple(row) for row in rows]
    styles = ["number" if any(_is_number(cell) for cell in column) else "" for column in zip(*rows, strict=True)]
    named = (
        tag("th", tag("button", head) if sortable else head, style)
        for head, style in zip_longest(heads, styles, fillvalue="")
    )
    head = f"<thead><tr>{''.join(named)}</tr></thead>" if heads else ""
    body = "".join(f"<tr>{''.join(_cell(value, sortable, thousands) for value in row)}</tr>" for row in rows)
    kinds = " ".join(name for name, wanted in (("sortable", sortable), ("many", len(heads) > 3)) if wanted)
    style = f' class="{kinds}"' if kinds else ""
    return Html(f'<div class="scroll" tabindex="0"><table{style}>{head}<tbody>{body}</tbody></table></div>')


def frame(data: pd.DataFrame, *, sortable: bool = False, thousands: bool = False) -> Html:
    """A data frame as a table."""
    rows = data.astype(object).itertuples(index=False)
    return table([str(column) for column in data], rows, sortable=sortable, thousands=thousands)


def decimals(value: float | None) -> str:
    """A metric."""
    return "n/a" if _missing(value) else f"{value:.4f}"


def escape(text: Any) -> str:
    """Text as HTML; markup as it is."""
    return text if isinstance(text, Html) else html.escape(str(text))


def _cell(value: Any, keyed: bool, thousands: bool) -> str:
    # Sorting goes by the value, not by how it is written.
    key = f' data-key="{escape("" if _missing(value) else value)}"' if keyed else ""
    return f'<td class="{"number" if _is_number(value) else "text"}"{key}>{escape(_text(value, thousands))}</td>'


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
