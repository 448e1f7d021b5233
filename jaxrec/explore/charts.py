"""Charts of the exploration: tables → Plotly figures, each with the sentence that says what to see in it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import sentences as say
from jaxrec.report_figure import BLUE, GREY, ORANGE, chart, plain, titled
from jaxrec.report_page import Html, tag

COLOURS = (BLUE, ORANGE, "#35a07c", "#a06fd6", "#d5574d", GREY)
LOG = {"type": "log", "dtick": 1, "tickformat": "~s"}
FAINT, NONE = "rgba(61,139,212,0.06)", "rgba(141,151,163,0)"
LEGEND = {"orientation": "h", "y": 1, "yanchor": "bottom", "x": 0, "xanchor": "left"}
SHARE = {"tickformat": ".0%", "rangemode": "tozero"}


def actions(table: pd.DataFrame) -> Html:
    """How many of each kind of action."""
    texts = [f"{row.interactions:,} ({say.percent(row.share)})" for row in table.itertuples()]
    tips = [
        f"{plain(row.action)}: {row.interactions:,} by {row.users:,} users on {row.items:,} items"
        for row in table.itertuples()
    ]
    colours = list(COLOURS[: len(table)])
    bars = _ranked(list(table.action), table.interactions, colours, tips, texts)
    return _listing("Actions", [bars], say.of_actions(table), table.action, room=1.9)


def top_items(table: pd.DataFrame, colour: str) -> Html:
    """The most frequent items of one action."""
    tips = [
        f"{_wrapped(row.title)}<br>id {plain(row.item_id)}: {row.interactions:,} by {row.users:,} users, {say.percent(row.share)}"
        for row in table.itertuples()
    ]
    bars = _ranked(list(table.title), table.interactions, colour, tips, [f"{n:,}" for n in table.interactions])
    return _listing(
        f"Most frequent items: {table.action.iloc[0]}", [bars], say.of_top_items(table), table.title, room=1.25
    )


def ranks(table: pd.DataFrame) -> Html:
    """How often the item of each rank occurs."""
    lines = [
        go.Scatter(
            x=mine["rank"],
            y=mine.interactions,
            mode="lines",
            name=plain(action),
            line={"color": colour, "width": 2.5},
            hovertemplate="rank %{x:,}: %{y:,}<extra></extra>",
        )
        for (action, mine), colour in zip(table.groupby("action", sort=False), COLOURS, strict=False)
    ]
    axes = {"xaxis": titled("rank of the item", **LOG), "yaxis": titled("times it occurs", **LOG)}
    return chart("The long tail", lines, say.of_ranks(table), **_legend(lines), **axes)


def lorenz(table: pd.DataFrame, concentration: pd.DataFrame) -> Html:
    """Which share of the interactions the most frequent share of ids has."""
    lines: list[Any] = [
        go.Scatter(
            x=mine.share_of_ids,
            y=mine.share_of_interactions,
            mode="lines",
            name=of,
            line={"color": colour, "width": 2.5},
            hovertemplate=f"%{{x:.0%}} of the {of} have %{{y:.1%}}<extra></extra>",
        )
        for (of, mine), colour in zip(table.groupby("of", sort=False), COLOURS, strict=False)
    ]
    items = concentration.iloc[0]
    marks = {"x": [0.01, 0.1, 0.2], "y": [items.top_1_percent, items.top_10_percent, items.top_20_percent]}
    lines.append(
        go.Scatter(**marks, mode="markers", marker={"color": BLUE, "size": 9}, showlegend=False, hoverinfo="skip")
    )
    dotted = {"color": GREY, "dash": "dot", "width": 1}
    lines.append(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=dotted, name="if all were equal", hoverinfo="skip"))
    axes = {
        "xaxis": titled("share of items or users, most frequent first", **SHARE),
        "yaxis": titled("share of interactions", **SHARE),
    }
    return chart("Concentration", lines, say.of_concentration(concentration), **_legend(lines), **axes)


def activity(table: pd.DataFrame) -> Html:
    """How much of each action a user does who does it at all."""
    boxes = [
        go.Box(
            y=[-place],
            q1=[row.p25],
            median=[row.median],
            q3=[row.p75],
            lowerfence=[row.p5],
            upperfence=[row.p95],
            mean=[row.mean],
            orientation="h",
            width=0.5,
            line_color=COLOURS[place],
            hoverinfo="x",
            name=plain(row.action),
        )
        for place, row in enumerate(table.itertuples())
    ]
    names = {"tickvals": [-place for place in range(len(table))], "ticktext": [_short(name) for name in table.action]}
    caption = f"{say.of_activity(table)} Boxes hold the middle half, whiskers 90 %; dashes are means."
    axes = {"xaxis": titled("per user", **LOG), "yaxis": {**names, "showgrid": False}}
    return chart("Actions per visitor", boxes, caption, height=120 + 60 * len(table), **axes)


def users(table: pd.DataFrame, group: str) -> Html:
    """Users by how many of an action they have: everyone, or the upper tenth."""
    mine, action = table[table.group == group], table.action.iloc[0]
    everyone = group == "all users"
    title = f"{action.capitalize()}s per user: {'everyone' if everyone else 'from the 90th percentile on'}"
    caption = say.of_all_users(table) if everyone else say.of_top_users(table)
    mine = mine if everyone else mine[mine["high"] >= table.cut.iloc[0]]
    return _histogram(title, mine, f"{action}s", "users", caption, BLUE if everyone else ORANGE)


def most_active(table: pd.DataFrame, names: Sequence[str], total: int) -> Html:
    """The most active users and what they did."""
    kinds = [name for name in names if name in table] or ["interactions"]
    labels = [f"user {user}" for user in table.user_id]
    bars = [
        _ranked(
            labels,
            table[kind],
            colour,
            [
                f"user {plain(row.user_id)}: {row.interactions:,} on {row.items:,} items<br>{plain(kind)}: {n:,}"
                for row, n in zip(table.itertuples(), table[kind], strict=True)
            ],
            [f"{n:,}" for n in table.interactions] if kind == kinds[-1] else None,
            name=plain(kind),
        )
        for kind, colour in zip(kinds, COLOURS, strict=False)
    ]
    return _listing(
        "Most active users",
        bars,
        say.of_most_active(table, total),
        labels,
        room=1.25,
        most=table.interactions.max(),
        barmode="stack",
        **_legend(bars),
    )


def over_time(table: pd.DataFrame) -> Html:
    """Each action over time, one below the other on axes of their own: views would hide purchases."""
    groups = list(table.groupby("action", sort=False))
    n, gap = len(groups), 0.12 if len(groups) > 1 else 0
    height = (1 - gap * (n - 1)) / n
    lines, layout = [], {}
    for place, (action, mine) in enumerate(groups):
        axis = "" if place == 0 else str(place + 1)
        top = 1 - place * (height + gap)
        colour = COLOURS[place]
        lines.append(
            go.Scatter(
                x=mine.start,
                y=mine.interactions,
                mode="lines" if len(mine) > 2 else "lines+markers",
                line={"color": colour, "width": 1.75},
                fill="tozeroy",
                fillcolor=_faint(colour),
                yaxis=f"y{axis}",
                hovertemplate=f"%{{x}}<br>{plain(action)}: %{{y:,}}<extra></extra>",
            )
        )
        layout[f"yaxis{axis}"] = {
            "domain": [max(0.0, top - height), top],
            "rangemode": "tozero",
            "nticks": 4,
            "tickformat": "~s",
        }
        if n > 1:
            layout.setdefault("annotations", []).append(
                {
                    "text": plain(action),
                    "x": 0,
                    "xref": "paper",
                    "xanchor": "left",
                    "y": top,
                    "yref": "paper",
                    "yanchor": "bottom",
                    "showarrow": False,
                }
            )
    layout["xaxis"] = {
        "anchor": "y" if n == 1 else f"y{n}",
        "type": "date",
        "showgrid": False,
        "nticks": 8,
        "tickangle": 0,
    }
    return chart(
        f"Over time, by {table.period.iloc[0]}",
        lines,
        say.of_time(table),
        height=140 + 130 * n,
        margin={"l": 10, "r": 14, "t": 26, "b": 10},
        **layout,
    )


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
    return chart("By hour of the day", lines, say.of_peaks(table, "hour"), **_legend(lines), **axes)


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
    return chart("By weekday", bars, say.of_peaks(table, "weekday"), bargap=0.25, yaxis=SHARE, **_legend(bars))


def funnel(table: pd.DataFrame, of: str) -> Html:
    """How many get to each step of a sale."""
    through = table[f"{of}_through"]
    texts = [
        f"{n:,}" if place == 0 else f"{n:,} ({say.percent(rate)})"
        for place, (n, rate) in enumerate(zip(through, table[f"{of}_rate"], strict=True))
    ]
    tips = [
        f"{plain(row.action)}: {getattr(row, of):,} in all,<br>{getattr(row, f'{of}_through'):,} with every step before"
        for row in table.itertuples()
    ]
    bars = go.Funnel(
        y=[-place for place in range(len(table))],
        x=through,
        text=texts,
        textinfo="text",
        textposition="auto",
        marker_color=list(COLOURS[: len(table)]),
        connector={"fillcolor": FAINT, "line": {"width": 0}},
        hovertext=tips,
        hoverinfo="text",
        constraintext="none",
        textangle=0,
    )
    names = {"tickvals": [-place for place in range(len(table))], "ticktext": [_short(name) for name in table.action]}
    title = {"pairs": "Pairs of user and item", "users": "Users"}[of]
    return chart(
        title, [bars], say.of_funnel(table, of), height=100 + 65 * len(table), yaxis={**names, "showgrid": False}
    )


def session_sizes(table: pd.DataFrame, summary: pd.DataFrame, of: str) -> Html:
    """Sessions by actions or by seconds."""
    mine = table[table.of == of]
    if of == "actions":
        return _histogram("Actions per session", mine, "actions", "sessions", say.of_sessions(summary), BLUE)
    labels = [
        "under 1 s" if low == 0 else f"{_clock(low)} +" if last else f"{_clock(low)} to {_clock(high)}"
        for low, high, last in zip(mine.low, mine.high, mine.low == mine.low.iloc[-1], strict=True)
    ]
    return _bars(
        "Duration of sessions", labels, mine["count"], "duration", "sessions", say.of_durations(summary), ORANGE
    )


def spread(table: pd.DataFrame, name: str, colour: str) -> Html:
    """Rows by value or weight."""
    return _histogram(f"{name.capitalize()}s", table, name, "interactions", say.of_spread(table, name), colour)


def correlations(table: pd.DataFrame) -> Html:
    """Every two numerical columns against each other."""
    names = [_short(name, 18) for name in table.column]
    values = table.drop(columns="column").to_numpy(np.float64)
    places = list(range(len(names)))
    heat = go.Heatmap(
        z=values,
        x=places,
        y=places,
        zmin=-1,
        zmax=1,
        colorscale=[[0, ORANGE], [0.5, NONE], [1, BLUE]],
        xgap=1,
        ygap=1,
        texttemplate="%{z:.2f}" if len(names) <= 14 else None,
        colorbar={"thickness": 10, "outlinewidth": 0, "tickvals": [-1, 0, 1]},
        customdata=[[f"{plain(a)} and {plain(b)}" for b in table.column] for a in table.column],
        hovertemplate="%{customdata}: %{z:.2f}<extra></extra>",
        hoverongaps=False,
    )
    labels = {"tickvals": places, "ticktext": names, "showgrid": False}
    axes = {"xaxis": {**labels, "tickangle": -40}, "yaxis": {**labels, "autorange": "reversed"}}
    drawn = chart("Which numbers go together", [heat], say.of_correlations(table), height=190 + 32 * len(names), **axes)
    return tag("div", drawn, "grid wide")


def pairs(table: pd.DataFrame, of: str) -> Html:
    """Users by different items, or items by different users."""
    other, colour = ("items", BLUE) if of == "users" else ("users", ORANGE)
    title = f"Different {other} {'of a user' if of == 'users' else 'of an item'}"
    return _histogram(title, table[table.of == of], f"different {other}", of, say.of_pairs(table, of, other), colour)


def cores(table: pd.DataFrame) -> Html:
    """What k-cores would leave."""
    lines = [
        go.Scatter(
            x=[str(k) for k in table.k],
            y=table[of] / table[of].iloc[0],
            mode="lines+markers",
            name=of,
            line={"color": colour, "width": 2.5},
            customdata=table[of],
            hovertemplate=f"k = %{{x}}: %{{customdata:,}} {of}, %{{y:.1%}}<extra></extra>",
        )
        for of, colour in zip(("users", "items", "interactions"), COLOURS, strict=False)
    ]
    axes = {
        "xaxis": titled("k: interactions that each user and item must have", type="category"),
        "yaxis": titled("share left", **SHARE),
    }
    return chart("What k-cores would leave", lines, say.of_cores(table), **_legend(lines), **axes)


def _shares(table: pd.DataFrame, column: str) -> list[tuple[str, pd.Series, str]]:
    """Action, its share by hour or weekday, and its colour."""
    found = []
    for (action, mine), colour in zip(table.groupby("action", sort=False), COLOURS, strict=False):
        counts = mine.groupby(column).interactions.sum()
        found.append((str(action), counts / counts.sum(), colour))
    return found


def _histogram(title: str, table: pd.DataFrame, x: str, y: str, caption: str, colour: str) -> Html:
    labels = [
        say.number(low) if low == high else f"{say.number(low)}–{say.number(high)}"
        for low, high in zip(table.low, table.high, strict=True)
    ]
    return _bars(title, labels, table["count"], x, y, caption, colour)


def _bars(title: str, labels: Sequence[str], counts: pd.Series, x: str, y: str, caption: str, colour: str) -> Html:
    """Bars by place, so that labels which read like numbers or dates stay labels."""
    places = list(range(len(labels)))
    tips = [
        f"{label} {x}: {n:,} {y} ({say.percent(n / counts.sum())})" for label, n in zip(labels, counts, strict=True)
    ]
    bars = go.Bar(x=places, y=counts, marker_color=colour, hovertext=tips, hoverinfo="text")
    step = -(-len(labels) // 8)  # as many labels as a phone has room for
    axis = titled(
        x, tickvals=places[::step], ticktext=list(labels)[::step], tickangle=0 if step == 1 and len(labels) < 6 else -40
    )
    return chart(title, [bars], caption, bargap=0.08, xaxis=axis, yaxis=titled(y, tickformat="~s", rangemode="tozero"))


def _ranked(
    labels: Sequence[str],
    lengths: pd.Series,
    colour: Any,
    tips: Sequence[str],
    texts: Sequence[str] | None,
    **more: Any,
) -> go.Bar:
    """Bars from left to right, the first on top."""
    return go.Bar(
        x=lengths,
        y=[-place for place in range(len(labels))],
        orientation="h",
        marker_color=colour,
        hovertext=tips,
        hoverinfo="text",
        text=texts,
        textposition="outside",
        cliponaxis=False,
        **more,
    )


def _listing(
    title: str,
    bars: Sequence[go.Bar],
    caption: str,
    labels: Sequence[str],
    *,
    room: float,
    most: int | None = None,
    **layout: Any,
) -> Html:
    """A ranking; `room` times the longest bar leaves place for the numbers behind."""
    names = {"tickvals": [-place for place in range(len(labels))], "ticktext": [_short(label) for label in labels]}
    end = room * float(most if most is not None else max(bars[0].x))
    axes = {"xaxis": {"visible": False, "range": [0, end]}, "yaxis": {**names, "showgrid": False}}
    return chart(title, bars, caption, height=60 + 26 * len(labels), bargap=0.25, **axes, **layout)


def _legend(traces: Sequence[Any]) -> dict[str, Any]:
    return {"showlegend": True, "legend": LEGEND} if len(traces) > 1 else {}


def _short(text: Any, most: int = 24) -> str:
    """Text cut to fit beside a chart on a phone; what hovers has all of it."""
    text = str(text)
    return plain(text if len(text) <= most else text[: most - 1].rstrip() + "…")


def _wrapped(text: str) -> str:
    """Long text in lines, 300 characters at most."""
    words = [plain(text[start : start + 50]) for start in range(0, min(len(text), 300), 50)]
    return "<br>".join(words)


def _clock(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.15)"
