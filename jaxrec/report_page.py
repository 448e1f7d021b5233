"""Pieces of an HTML page, and the page itself; whatever is not `Html` is escaped on its way in."""

import base64
import functools
import gzip
import html
import math
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template
from typing import Any

import numpy as np
import pandas as pd
from plotly.offline import get_plotlyjs


class Html(str):
    """Markup; what came from outside is escaped in it."""

    __slots__ = ()


def _page(title: str, body: Iterable[str]) -> str:
    template = Template(files("jaxrec").joinpath("report.html").read_text(encoding="utf-8"))
    return template.substitute(title=_h(title), body="\n".join(body), plotly=_plotly())


@functools.cache
def _plotly() -> str:
    """Plotly's JavaScript, compressed: a third of its 4.8 MB."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _section(title: str, *parts: Html) -> Html:
    return Html(f"<section><h2>{_h(title)}</h2>{''.join(parts)}</section>")


def _headed(title: str, *parts: Html) -> Html:
    return _box(_tag("h3", title), *parts)


def _box(*parts: Html) -> Html:
    return Html(f'<div class="box">{"".join(parts)}</div>')


def _grid(parts: Sequence[Html]) -> Html:
    return Html(f'<div class="grid">{"".join(parts)}</div>')


def _details(title: str, content: Html) -> Html:
    return Html(f'<details class="box"><summary>{_h(title)}</summary>{content}</details>')


def _cards(*cards: tuple[str, str, str]) -> Html:
    shown = (f"<div>{_h(name)}<b>{_h(value)}</b><small>{_h(note)}</small></div>" for name, value, note in cards)
    return Html(f'<div class="cards">{"".join(shown)}</div>')


def _tag(name: str, text: Any, style: str = "") -> Html:
    return Html(f'<{name} class="{style}">{_h(text)}</{name}>' if style else f"<{name}>{_h(text)}</{name}>")


def _frame(frame: pd.DataFrame, *, sortable: bool = False) -> Html:
    return _table([str(column) for column in frame], frame.itertuples(index=False), sortable=sortable)


def _table(heads: Sequence[str], rows: Iterable[Iterable[Any]], *, sortable: bool = False) -> Html:
    """A table that scrolls by itself where it is wider than the page; empty heads are left out."""
    named = [f"<th><button>{_h(head)}</button></th>" if sortable else f"<th>{_h(head)}</th>" for head in heads]
    head = f"<thead><tr>{''.join(named)}</tr></thead>" if any(heads) else ""
    body = "".join(f"<tr>{''.join(_cell(value, sortable) for value in row)}</tr>" for row in rows)
    style = ' class="sortable"' if sortable else ""
    return Html(f'<div class="scroll"><table{style}>{head}<tbody>{body}</tbody></table></div>')


def _cell(value: Any, sortable: bool) -> str:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    key = f' data-key="{_h("" if _missing(value) else repr(value) if number else value)}"' if sortable else ""
    return f'<td class="{"number" if number else "text"}"{key}>{_h(_text(value))}</td>'


def _interval(result: Result, key: str) -> str:
    low, high = result.metrics.get("test_interval", {}).get(key, (math.nan, math.nan))
    return "" if math.isnan(low) else f"{low:.4f} to {high:.4f}"


def _label(key: str) -> str:
    """`ndcg@10` → NDCG@10."""
    name, at, k = key.partition("@")
    return METRICS.get(name, (name.replace("_", " "), ""))[0] + at + k


def _number(value: float | None) -> str:
    return "–" if _missing(value) else f"{value:.4f}"


def _text(value: Any) -> str:
    if _missing(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return f"{value:.5g}" if isinstance(value, float) else f"{value}"


def _missing(value: Any) -> bool:
    return value is None or value is pd.NaT or (isinstance(value, float) and math.isnan(value))


def _h(text: Any) -> str:
    """For HTML."""
    return text if isinstance(text, Html) else html.escape(str(text))


def _plain(text: Any) -> str:
    """For a chart."""
    return html.escape(str(text), quote=False)
