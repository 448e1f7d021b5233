"""Bar charts, rankings and axes shared by the charts of the data report."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import captions
from jaxrec.page.figure import LEGEND, chart, plain, titled
from jaxrec.page.html import Html

MAX_LABELS = 24  # vertical labels that fit on a phone
FAINT = "rgba(61,139,212,0.06)"
LOG = {"type": "log", "dtick": 1, "tickformat": "~s"}
SHARE = {"tickformat": ".0%", "rangemode": "tozero"}


def histogram(title: str, table: pd.DataFrame, x: str, y: str, caption: str, color: str) -> Html:
    """Draw a histogram, starting at the first nonempty bin."""
    table = table[table["count"].cumsum() > 0]
    labels = [
        captions.number(low) if low == high else f"{captions.number(low)}\u2013{captions.number(high)}"
        for low, high in zip(table.low, table.high, strict=True)
    ]
    return bars(title, labels, table["count"], x, y, caption, color)


def bars(title: str, labels: Sequence[str], counts: pd.Series, x: str, y: str, caption: str, color: str) -> Html:
    """Draw labeled vertical bars at integer positions, so that Plotly does not parse labels as numbers or dates."""
    places = list(range(len(labels)))
    tips = [
        f"{label} {plain(x)}: {n:,} {y} ({captions.percent(n / counts.sum())})"
        for label, n in zip(labels, counts, strict=True)
    ]
    bars = go.Bar(x=places, y=counts, marker_color=color, hovertext=tips, hoverinfo="text")
    step = -(-len(labels) // MAX_LABELS)
    flat = len("".join(labels)) <= 22
    look = {"tickangle": 0} if flat else {"tickangle": -90, "tickfont": {"size": 11}}
    axis = titled(x, tickvals=places[::step], ticktext=list(labels)[::step], showgrid=False, **look)
    return chart(title, [bars], caption, bargap=0.08, xaxis=axis, yaxis=titled(y, tickformat="~s", rangemode="tozero"))


def ranked(
    labels: Sequence[str],
    lengths: pd.Series,
    color: object,
    tips: Sequence[str],
    texts: Sequence[str] | None,
    **more: object,
) -> go.Bar:
    """Return horizontal bars, the first on top."""
    return go.Bar(
        x=lengths,
        y=[-place for place in range(len(labels))],
        orientation="h",
        marker_color=color,
        hovertext=tips,
        hoverinfo="text",
        text=texts,
        textposition="outside",
        cliponaxis=False,
        **more,
    )


def listing(
    title: str,
    bars: Sequence[go.Bar],
    caption: str,
    labels: Sequence[str],
    *,
    room: float,
    most: int | None = None,
    **layout: object,
) -> Html:
    """Draw a ranking; the axis is `room` times the longest bar to leave space for the numbers."""
    names = {"tickvals": [-place for place in range(len(labels))], "ticktext": [short(label) for label in labels]}
    end = room * float(most if most is not None else max(bars[0].x))
    axes = {"xaxis": {"visible": False, "range": [0, end]}, "yaxis": {**names, "showgrid": False}}
    return chart(title, bars, caption, height=60 + 26 * len(labels), bargap=0.25, **axes, **layout)


def legend(traces: Sequence[object]) -> dict[str, object]:
    """Return layout settings for a legend above the chart if there is more than one trace."""
    return {"showlegend": True, "legend": LEGEND} if len(traces) > 1 else {}


def short(text: object, most: int = 24) -> str:
    """Truncate a label to fit next to a chart on a phone; the tooltip has the full text."""
    text = str(text)
    return plain(text if len(text) <= most else text[: most - 1].rstrip() + "…")


def faint(color: str) -> str:
    """Return a transparent version of a color, for the area below a line."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
