"""Charts of event types, items, users and the conversion funnel: tables → Plotly figures with captions."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from jaxrec.explore import captions
from jaxrec.explore.actions import ONE_KIND
from jaxrec.explore.bars import FAINT, LOG, SHARE, histogram, legend, listing, ranked, short
from jaxrec.page.figure import BLUE, COLORS, GRAY, ORANGE, chart, log_ticks, plain, titled
from jaxrec.page.html import Html, plural


def actions(table: pd.DataFrame) -> Html:
    """Draw interactions by event type."""
    texts = [f"{row.interactions:,} ({captions.percent(row.share)})" for row in captions.rows(table)]
    tips = [
        f"{plain(row.action)}: {row.interactions:,} interactions from {row.users:,} users with {row.items:,} items"
        for row in captions.rows(table)
    ]
    colors = list(COLORS[: len(table)])
    bars = ranked(list(table.action), table.interactions, colors, tips, texts)
    return listing("Event types", [bars], captions.of_actions(table), list(table.action), room=1.9)


def top_items(table: pd.DataFrame, color: str) -> Html:
    """Draw the most popular items of one event type."""
    tips = [
        f"{_wrapped(row.title)}<br>id {plain(row.item_id)}: {row.interactions:,} from {plural(row.users, 'user')}"
        for row in captions.rows(table)
    ]
    titles, action = list(table.title), table.action.iloc[0]
    bars = ranked(titles, table.interactions, color, tips, [f"{n:,}" for n in table.interactions])
    title = "Most popular items" if action == ONE_KIND else f"Most popular items: {action}"
    return listing(title, [bars], captions.of_top_items(table), titles, room=1.6)


def ranks(table: pd.DataFrame) -> Html:
    """Draw the number of interactions by popularity rank of items."""
    lines = [
        go.Scatter(
            x=group["rank"],
            y=group.interactions,
            mode="lines",
            name=plain(action),
            line={"color": color, "width": 2.5},
            hovertemplate="rank %{x:,}: %{y:,}<extra></extra>",
        )
        for (action, group), color in zip(table.groupby("action", sort=False), COLORS, strict=False)
    ]
    axes = {"xaxis": titled("popularity rank", **LOG), "yaxis": titled("interactions", **LOG)}
    return chart("Long tail", lines, captions.of_ranks(table), **legend(lines), **axes)


def lorenz(table: pd.DataFrame, concentration: pd.DataFrame) -> Html:
    """Draw the share of interactions of the most popular items and the most active users."""
    lines: list[object] = [
        go.Scatter(
            x=group.share_of_ids,
            y=group.share_of_interactions,
            mode="lines",
            name=of,
            line={"color": color, "width": 2.5},
            hovertemplate=f"%{{x:.0%}} of the {of} have %{{y:.1%}}<extra></extra>",
        )
        for (of, group), color in zip(table.groupby("of", sort=False), COLORS, strict=False)
    ]
    items = concentration.iloc[0]
    marks = {"x": [0.01, 0.1, 0.2], "y": [items.top_1_percent, items.top_10_percent, items.top_20_percent]}
    lines.append(
        go.Scatter(**marks, mode="markers", marker={"color": BLUE, "size": 9}, showlegend=False, hoverinfo="skip")
    )
    dotted = {"color": GRAY, "dash": "dot", "width": 1}
    lines.append(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=dotted, name="equal shares", hoverinfo="skip"))
    axes = {
        "xaxis": titled("share of items or users", **{**SHARE, "tickvals": [0.2, 0.4, 0.6, 0.8, 1]}),
        "yaxis": titled("share of interactions", **SHARE),
    }
    return chart("Concentration", lines, captions.of_concentration(concentration), **legend(lines), **axes)


def activity(table: pd.DataFrame) -> Html:
    """Draw interactions per user by event type, among users with at least one."""
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
            line_color=COLORS[place],
            hoverinfo="x",
            name=plain(row.action),
        )
        for place, row in enumerate(captions.rows(table))
    ]
    labels = [short(name) for name in table.action] if len(table) > 1 else [""]
    names = {"tickvals": [-place for place in range(len(table))], "ticktext": labels}
    caption = captions.of_activity(table)
    low, high = table.p5.min(), table.p95.max()
    span = {"type": "log", **log_ticks(low, high if high > low else 10 * low)}
    axes = {"xaxis": titled("interactions per user", **span), "yaxis": {**names, "showgrid": False}}
    return chart("Interactions per user", boxes, caption, height=120 + 60 * len(table), **axes)


def users(table: pd.DataFrame, group: str) -> Html:
    """Draw a histogram of interactions per user, of all users or the most active tenth."""
    bins, action = table[table.group == group], table.action.iloc[0]
    everyone = group == "all users"
    noun = captions.noun(action)
    title = f"Users by number of {noun}" if everyone else f"Top 10% of the users by number of {noun}"
    caption = captions.of_all_users(table) if everyone else captions.of_top_users(table)
    bins = bins if everyone else bins[bins["high"] >= table.cut.iloc[0]]
    return histogram(title, bins, noun, "users", caption, BLUE if everyone else ORANGE)


def most_active(table: pd.DataFrame, names: Sequence[str], total: int) -> Html:
    """Draw the most active users, by event type."""
    kinds = [name for name in names if name in table] or ["interactions"]
    labels = [f"user {user}" for user in table.user_id]
    bars = [
        ranked(
            labels,
            table[kind],
            color,
            [
                f"user {plain(row.user_id)}: {row.interactions:,} with {row.items:,} items<br>{plain(kind)}: {n:,}"
                for row, n in zip(captions.rows(table), table[kind], strict=True)
            ],
            [f"{n:,}" for n in table.interactions] if kind == kinds[-1] else None,
            name=plain(kind),
        )
        for kind, color in zip(kinds, COLORS, strict=False)
    ]
    return listing(
        "Most active users",
        bars,
        captions.of_most_active(table, total),
        labels,
        room=1.25,
        most=table.interactions.max(),
        barmode="stack",
        **legend(bars),
    )


def funnel(table: pd.DataFrame, of: str) -> Html:
    """Draw the number of users or user-item pairs at each step of the funnel."""
    through = table[f"{of}_through"]
    texts = [
        f"{n:,}" if place == 0 else f"{n:,} ({captions.percent(rate)})"
        for place, (n, rate) in enumerate(zip(through, table[f"{of}_rate"], strict=True))
    ]
    tips = [
        f"{plain(row.action)}: {getattr(row, of):,},<br>{getattr(row, f'{of}_through'):,} with all previous steps"
        for row in captions.rows(table)
    ]
    bars = go.Funnel(
        y=list(range(len(table))),
        x=through,
        text=texts,
        textinfo="text",
        textposition="auto",
        marker_color=list(COLORS[: len(table)]),
        connector={"fillcolor": FAINT, "line": {"width": 0}},
        hovertext=tips,
        hoverinfo="text",
        constraintext="none",
        textangle=0,
    )
    names = {"tickvals": list(range(len(table))), "ticktext": [short(name) for name in table.action]}
    title = {"pairs": "User-item pairs", "users": "Users"}[of]
    return chart(
        title, [bars], captions.of_funnel(table, of), height=100 + 65 * len(table), yaxis={**names, "showgrid": False}
    )


def _wrapped(text: str) -> str:
    """Wrap long text into lines of 50 characters, 300 characters at most."""
    lines = [plain(text[start : start + 50]) for start in range(0, min(len(text), 300), 50)]
    return "<br>".join(lines)
