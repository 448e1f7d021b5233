"""One chart of a page, and what all charts share; the colors read well on a light and on a dark page."""

import html
import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from jaxrec.page.html import Html, piece

BLUE, ORANGE, GRAY = "#3d8bd4", "#e08a1e", "#8d97a3"  # the model; the best or chosen; popularity and what is set aside
COLORS = (BLUE, ORANGE, "#35a07c", "#a06fd6", "#d5574d", GRAY)
LEGEND = {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "xanchor": "left", "traceorder": "normal"}
CLEAR = "rgba(0,0,0,0)"  # the page shows through, light or dark
LAYOUT = {
    "template": "none",
    "height": 300,
    "margin": {"l": 10, "r": 10, "t": 10, "b": 10},
    "showlegend": False,
    "dragmode": False,
    "paper_bgcolor": CLEAR,
    "plot_bgcolor": CLEAR,
    "font": {"family": "system-ui, sans-serif", "size": 13},
}


def chart(title: str, traces: Sequence[Any], caption: str, **layout: Any) -> Html:
    """A figure whose title and caption are page text, which wraps on a phone as Plotly's would not."""
    figure = go.Figure(list(traces), LAYOUT)
    # Without zoom, a finger on a chart scrolls the page.
    figure.update_xaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_yaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_layout(**layout)
    # Plotly writes `<` as \u003c, so that nothing in here ends the script.
    return piece("chart", title, Html(figure.to_json()), caption)


def titled(title: str, **axis: Any) -> dict[str, Any]:
    """An axis with a title."""
    return {"title": {"text": plain(title), "standoff": 10}, **axis}  # clear of labels written upwards


def counted(title: str, n: int) -> dict[str, Any]:
    """An axis of whole numbers, without the halves that Plotly adds where there are few."""
    return titled(title, **({"dtick": 1} if n <= 10 else {}))


def log_ticks(low: float, high: float, *, around: bool = False) -> dict[str, list[Any]]:
    """1, 2, 5, 10, … written in full: Plotly's own writes 0.002 as a bare 2. `around` takes one more at either end."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in ((1,) if high / low > 300 else (1, 2, 5))]
    if around:
        low, high = max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)
    ticks = [tick for tick in ticks if low <= tick <= high]
    ticks = ticks if len(ticks) > 1 else [low, high]
    return {"tickvals": ticks, "ticktext": [f"{tick:.3g}" for tick in ticks]}


def plain(text: Any) -> str:
    """Text for a chart: Plotly reads tags in its labels."""
    return html.escape(str(text), quote=False)
