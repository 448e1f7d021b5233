"""Charts on a page and their shared style; colors are legible on light and dark pages."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import TypedDict

import plotly.graph_objects as go

from jaxrec.page.html import Html, piece

BLUE, ORANGE, GRAY = "#3d8bd4", "#e08a1e", "#8d97a3"  # model; best or selected; popularity and background
GREEN = "#35a07c"  # validation, where test is blue
COLORS = (BLUE, ORANGE, GREEN, "#a06fd6", "#d5574d", GRAY)
LEGEND = {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "xanchor": "left", "traceorder": "normal"}
MAX_CHARACTERS = 24  # characters of a name next to a chart that fit on a phone
CLEAR = "rgba(0,0,0,0)"  # transparent, for light and dark pages
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


def chart(title: str, traces: Sequence[object], caption: str, **layout: object) -> Html:
    """Return a chart whose title and caption are HTML, which wraps on phones, unlike Plotly's."""
    figure = go.Figure(list(traces), LAYOUT)
    # Zooming is disabled so that touching a chart scrolls the page.
    figure.update_xaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_yaxes(automargin=True, fixedrange=True, zeroline=False, ticklabelstandoff=6)
    figure.update_layout(**layout)
    # Plotly escapes `<` as \u003c, so the JSON cannot end the script element.
    return piece("chart", title, Html(figure.to_json()), caption)


def titled(title: str, **axis: object) -> dict[str, object]:
    """Return an axis with a title."""
    return {"title": {"text": plain(title), "standoff": 10}, **axis}  # distance to vertical tick labels


def counted(title: str, n: int) -> dict[str, object]:
    """Return an axis of integers, without the fractional ticks that Plotly adds to short ranges."""
    return titled(title, **({"dtick": 1} if n <= 10 else {}))


def named(names: Iterable[str]) -> dict[str, object]:
    """Return an axis with a name at 0, 1, …; of a long name the end is shown."""
    texts = [plain(name if len(name) <= MAX_CHARACTERS else f"\u2026{name[1 - MAX_CHARACTERS :]}") for name in names]
    places = list(range(len(texts)))
    return {"tickvals": places, "ticktext": texts, "range": [-0.7, len(texts) - 0.3], "showgrid": False}


class Ticks(TypedDict):
    """Positions and labels of the ticks of an axis, by their names in Plotly."""

    tickvals: list[float]
    ticktext: list[str]


def log_ticks(low: float, high: float, *, around: bool = False) -> Ticks:
    """Return ticks 1, 2, 5, 10, … with full labels, as Plotly labels 0.002 as 2.

    Args:
        low, high: range of the axis.
        around: whether to add one tick beyond either end.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in ((1,) if high / low > 300 else (1, 2, 5))]
    if around:
        low, high = max(t for t in ticks if t <= low), min(t for t in ticks if t >= high)
    ticks = [tick for tick in ticks if low <= tick <= high]
    ticks = ticks if len(ticks) > 1 else [low, high]
    return {"tickvals": ticks, "ticktext": [f"{tick:,.0f}" if tick >= 1000 else f"{tick:.3g}" for tick in ticks]}


def plain(text: object) -> str:
    """Escape text for a chart, as Plotly interprets HTML tags in labels."""
    return html.escape(str(text), quote=False)
