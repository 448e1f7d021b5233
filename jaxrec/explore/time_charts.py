"""Charts of when things happen, each with the sentence that says what to see in it."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import sentences as say
from jaxrec.explore.bars import COLOURS, FAINT, SHARE, bars, faint, histogram, legend
from jaxrec.page.figure import BLUE, ORANGE, chart, plain, titled
from jaxrec.page.html import Html


def over_time(table: pd.DataFrame) -> Html:
    """Each action over time, one below the other on axes of their own: views would hide purchases."""
    groups = list(table.groupby("action", sort=False))
    n = len(groups)
    lines, names = [], []
    layout: dict[str, Any] = {}
    for place, ((action, mine), colour) in enumerate(zip(groups, COLOURS, strict=False)):
        axis = "" if place == 0 else str(place + 1)
        bottom, top = 1 - (place + 0.72) / (n - 0.28), 1 - place / (n - 0.28)
        lines.append(
            go.Scatter(
                x=mine.start,
                y=mine.interactions,
                mode="lines" if len(mine) > 2 else "markers",
                line={"color": colour, "width": 1.75},
                fill="tozeroy",
                fillcolor=faint(colour),
                yaxis=f"y{axis}",
                hovertemplate=f"%{{x}}<br>{plain(action)}: %{{y:,}}<extra></extra>",
            )
        )
        layout[f"yaxis{axis}"] = {"domain": [bottom, top], "rangemode": "tozero", "nticks": 4, "tickformat": "~s"}
        where = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
        names.append({"text": plain(action), "showarrow": False, **where})
    last = "y" if n == 1 else f"y{n}"
    layout["xaxis"] = {"anchor": last, "type": "date", "showgrid": False, "nticks": 4, "tickangle": 0}
    layout["annotations"] = names if n > 1 else []
    margin = {"l": 10, "r": 14, "t": 26, "b": 10}
    title = f"Over time, by {table.period.iloc[0]}"
    edges = " The first and the last may not be whole." if table.start.nunique() > 2 else ""
    return chart(title, lines, say.of_time(table) + edges, height=90 + 120 * n, margin=margin, **layout)


def week(table: pd.DataFrame) -> Html:
    """All actions by weekday and hour."""
    cells = table.groupby(["weekday", "hour"]).interactions.sum().unstack("hour")
    heat = go.Heatmap(
        z=cells.to_numpy(),
        x=list(cells.columns),
        y=[day[:3] for day in say.WEEKDAYS],
        colorscale=[[0, FAINT], [1, BLUE]],
        xgap=1,
        ygap=1,
        zmin=0,
        showscale=False,
        hovertemplate="%{y} %{x}:00 to %{x}:59: %{z:,}<extra></extra>",
    )
    axes = {
        "xaxis": titled("hour (UTC)", dtick=3, showgrid=False),
        "yaxis": {"autorange": "reversed", "showgrid": False},
    }
    return chart("When in the week", [heat], say.of_hours(table), **axes)


def by_hour(table: pd.DataFrame) -> Html:
    """The share of each action by hour of the day."""
    lines = [
        go.Scatter(
            x=shares.index,
            y=shares,
            mode="lines",
            name=plain(action),
            line={"color": colour, "width": 2.5},
            hovertemplate="%{x}:00: %{y:.1%}<extra></extra>",
        )
        for action, shares, colour in _shares(table, "hour")
    ]
    axes = {"xaxis": titled("hour (UTC)", dtick=3), "yaxis": SHARE}
    return chart("By hour of the day", lines, say.of_peaks(table, "hour"), **legend(lines), **axes)


def by_weekday(table: pd.DataFrame) -> Html:
    """The share of each action by weekday."""
    bars = [
        go.Bar(
            x=[day[:3] for day in say.WEEKDAYS],
            y=shares,
            name=plain(action),
            marker_color=colour,
            hovertemplate="%{x}: %{y:.1%}<extra></extra>",
        )
        for action, shares, colour in _shares(table, "weekday")
    ]
    return chart("By weekday", bars, say.of_peaks(table, "weekday"), bargap=0.25, yaxis=SHARE, **legend(bars))


def _shares(table: pd.DataFrame, column: str) -> list[tuple[str, pd.Series, str]]:
    """Action, its share by hour or weekday, and its colour."""
    found = []
    for (action, mine), colour in zip(table.groupby("action", sort=False), COLOURS, strict=False):
        counts = mine.groupby(column).interactions.sum()
        found.append((str(action), counts / counts.sum(), colour))
    return found


def session_sizes(table: pd.DataFrame, summary: pd.DataFrame, of: str) -> Html:
    """Sessions by actions or by seconds."""
    mine = table[table.of == of]
    if of == "actions":
        return histogram("Actions per session", mine, "actions", "sessions", say.of_sessions(summary), BLUE)
    labels = [
        "under 1 s" if low == 0 else f"{_clock(low)} +" if last else f"{_clock(low)} to {_clock(high)}"
        for low, high, last in zip(mine.low, mine.high, mine.low == mine.low.iloc[-1], strict=True)
    ]
    return bars(
        "Duration of sessions", labels, mine["count"], "duration", "sessions", say.of_durations(summary), ORANGE
    )


def _clock(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
