"""Charts of interactions over time and of sessions, with captions."""

import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import captions
from jaxrec.explore.bars import FAINT, SHARE, bars, faint, histogram, legend
from jaxrec.page.figure import BLUE, COLORS, ORANGE, chart, plain, titled
from jaxrec.page.html import Html


def over_time(table: pd.DataFrame) -> Html:
    """Draw each event type over time on its own axis, as views would hide purchases."""
    groups = list(table.groupby("action", sort=False))
    n = len(groups)
    lines, names = [], []
    layout: dict[str, object] = {}
    for place, ((action, group), color) in enumerate(zip(groups, COLORS, strict=False)):
        axis = "" if place == 0 else str(place + 1)
        bottom, top = 1 - (place + 0.72) / (n - 0.28), 1 - place / (n - 0.28)
        lines.append(
            go.Scatter(
                x=group.start,
                y=group.interactions,
                mode="lines" if len(group) > 2 else "markers",
                line={"color": color, "width": 1.75},
                fill="tozeroy",
                fillcolor=faint(color),
                yaxis=f"y{axis}",
                hovertemplate=f"%{{x}}<br>{plain(action)}: %{{y:,}}<extra></extra>",
            )
        )
        layout[f"yaxis{axis}"] = {"domain": [bottom, top], "rangemode": "tozero", "nticks": 5, "tickformat": "~s"}
        where = {"x": 0, "xref": "paper", "xanchor": "left", "y": top, "yref": "paper", "yanchor": "bottom"}
        names.append({"text": plain(action), "showarrow": False, **where})
    last = "y" if n == 1 else f"y{n}"
    layout["xaxis"] = {"anchor": last, "type": "date", "showgrid": False, "tickangle": 0, **_month_ticks(table.start)}
    layout["annotations"] = names if n > 1 else []
    margin = {"l": 10, "r": 14, "t": 26, "b": 10}
    title = f"Interactions per {table.period.iloc[0]}"
    edges = f" The first and the last {table.period.iloc[0]} may be incomplete." if table.start.nunique() > 2 else ""
    return chart(title, lines, captions.of_time(table) + edges, height=90 + 120 * n, margin=margin, **layout)


def _month_ticks(start: pd.Series) -> dict[str, object]:
    """Return axis settings for at most nine ticks at the first of a month; Plotly's defaults below two months."""
    first, last = (pd.Timestamp(day) for day in (start.iloc[0], start.max()))
    months = 12 * (last.year - first.year) + last.month - first.month
    if months < 2:
        return {"nticks": 4}
    step = next((step for step in (1, 2, 3, 6, 12, 24, 60) if months <= 9 * step), 120)
    return {"dtick": f"M{step}", "tick0": f"{first.year}-01-01", "tickformat": "%b\n%Y", "ticks": "outside"}


def week(table: pd.DataFrame) -> Html:
    """Draw all interactions by weekday and hour."""
    cells = table.groupby(["weekday", "hour"]).interactions.sum().unstack("hour")
    heat = go.Heatmap(
        z=cells.to_numpy(),
        x=list(cells.columns),
        y=[day[:3] for day in captions.WEEKDAYS],
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
    return chart("By weekday and hour", [heat], captions.of_hours(table), **axes)


def by_hour(table: pd.DataFrame) -> Html:
    """Draw the share of each event type by hour of the day."""
    lines = [
        go.Scatter(
            x=shares.index,
            y=shares,
            mode="lines",
            name=plain(action),
            line={"color": color, "width": 2.5},
            hovertemplate="%{x}:00: %{y:.1%}<extra></extra>",
        )
        for action, shares, color in _shares(table, "hour")
    ]
    axes = {"xaxis": titled("hour (UTC)", dtick=3, range=[-0.7, 23.7]), "yaxis": SHARE}
    return chart("By hour of the day", lines, captions.of_peaks(table, "hour"), **legend(lines), **axes)


def by_weekday(table: pd.DataFrame) -> Html:
    """Draw the share of each event type by weekday."""
    bars = [
        go.Bar(
            x=[day[:3] for day in captions.WEEKDAYS],
            y=shares,
            name=plain(action),
            marker_color=color,
            hovertemplate="%{x}: %{y:.1%}<extra></extra>",
        )
        for action, shares, color in _shares(table, "weekday")
    ]
    return chart("By weekday", bars, captions.of_peaks(table, "weekday"), bargap=0.25, yaxis=SHARE, **legend(bars))


def _shares(table: pd.DataFrame, column: str) -> list[tuple[str, pd.Series, str]]:
    """Return each event type, its shares by hour or weekday, and its color."""
    shares = []
    for (action, group), color in zip(table.groupby("action", sort=False), COLORS, strict=False):
        counts = group.groupby(column).interactions.sum()
        shares.append((str(action), counts / counts.sum(), color))
    return shares


def session_sizes(table: pd.DataFrame, summary: pd.DataFrame, of: str) -> Html:
    """Draw sessions by length or by duration."""
    bins = table[table.of == of]
    if of == "actions":
        return histogram(
            "Interactions per session", bins, "interactions", "sessions", captions.of_sessions(summary), BLUE
        )
    labels = [
        "under 1 s" if low == 0 else f"{_clock(low)} +" if last else f"{_clock(low)}\u2013{_clock(high)}"
        for low, high, last in zip(bins.low, bins.high, bins.low == bins.low.iloc[-1], strict=True)
    ]
    return bars(
        "Session duration", labels, bins["count"], "duration", "sessions", captions.of_durations(summary), ORANGE
    )


def _clock(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
