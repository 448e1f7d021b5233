"""Charts of the reports, by Plotly; their colours that matter are read on a light and on a dark page."""

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
import pandas as pd
import plotly.graph_objects as go
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

BLUE, ORANGE, GREY = "#3d8bd4", "#e08a1e", "#8d97a3"


def _learning_curves(result: Result, monitor: str) -> list[Html]:
    history, chosen = result.history, result.metrics.get("best_epoch", 0)
    charts = []
    for key, title, colour in (("loss", "Training loss", GREY), (monitor, f"Validation {_label(monitor)}", BLUE)):
        if key not in history or not history[key].notna().any():
            continue
        seen = history[history[key].notna()]
        traces = [go.Scatter(x=seen["epoch"], y=seen[key], mode="lines+markers", line_color=colour, name=title)]
        marked = seen[seen["epoch"] == chosen]
        traces.append(
            go.Scatter(
                x=marked["epoch"], y=marked[key], name=f"epoch {chosen}, kept", mode="markers",
                marker={"color": ORANGE, "size": 12, "symbol": "star"},
            )
        )
        caption = f"By epoch; the star is epoch {chosen}, the one kept." if len(marked) else "By epoch."
        charts.append(_chart(title, traces, caption, xaxis={"title": {"text": "epoch"}, "tickformat": "d"}))
    return charts


def _user_charts(result: Result) -> list[Html]:
    """How the metric spreads over users, and over how much was known of them."""
    key = _headline_metric(result)
    if key not in result.per_user or not (of_users := result.per_user[result.per_user[key].notna()]).size:
        return [_tag("p", "No user has anything to find.", "box soft")]
    values = of_users[key].to_numpy(np.float64)
    counts, edges = np.histogram(values, bins=20, range=(0, max(1.0, values.max())))
    middles = (edges[1:] + edges[:-1]) / 2
    spread = go.Bar(
        x=middles, y=counts, marker_color=BLUE, customdata=np.stack([edges[:-1], edges[1:]], axis=1),
        hovertemplate="%{customdata[0]:.2f} to %{customdata[1]:.2f}: %{y:,} users<extra></extra>",
    )  # fmt: skip
    none = float((values == 0).mean())
    label = _label(key)
    return [
        _chart(
            f"{label} of each user",
            [spread],
            f"How many of {len(values):,} users have which test {label}; {none:.0%} have none at all.",
            bargap=0.05, xaxis={"title": {"text": label}}, yaxis={"title": {"text": "users"}},
        ),
        _by_activity(result, of_users["user_id"], values, label),
    ]  # fmt: skip


def _by_activity(result: Result, user_ids: pd.Series, values: np.ndarray, label: str) -> Html:
    known = result.known
    lengths = np.bincount(known.user, minlength=known.n_users)[pd.Index(known.user_ids).get_indexer(user_ids)]
    # Equal lengths stay together, so quarters may differ in size, and there may be fewer than four.
    quarter = np.searchsorted(np.unique(np.quantile(lengths, [0.25, 0.5, 0.75])), lengths)
    groups = [quarter == q for q in np.unique(quarter)]
    means, lows, highs = np.array([mean_and_interval(values[group]) for group in groups]).T
    names = [
        f"{low:,}" if low == high else f"{low:,} to {high:,}"
        for low, high in ((lengths[group].min(), lengths[group].max()) for group in groups)
    ]
    bars = go.Bar(
        x=names, y=means, marker_color=BLUE, customdata=[int(group.sum()) for group in groups],
        error_y={"array": highs - means, "arrayminus": means - lows, "color": GREY, "thickness": 1.5},
        hovertemplate="%{customdata:,} users: %{y:.4f}<extra></extra>",
    )
    return _chart(
        f"{label} by activity", [bars],
        "Users in quarters by how many of their interactions were known before the test; bars with 95 % interval.",
        xaxis={"title": {"text": "interactions known of a user"}, "type": "category"}, yaxis={"title": {"text": label}},
    )  # fmt: skip


def _optimisation_history(study: optuna.Study, trials: Sequence[FrozenTrial], metric: str) -> Html:
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.value is not None]
    values = [trial.value for trial in complete]
    running = np.minimum if study.direction == optuna.study.StudyDirection.MINIMIZE else np.maximum
    traces = [_dots(complete, [trial.number for trial in complete], name="trial")]
    if pruned:
        traces.append(_dots(pruned, [trial.number for trial in pruned], name="pruned", symbol="circle-open"))
    line = {"color": ORANGE, "shape": "hv"}
    numbers = [trial.number for trial in complete]
    traces.append(go.Scatter(x=numbers, y=running.accumulate(values), mode="lines", line=line, name="best so far"))
    return _chart(
        "Value by trial", traces, f"{metric} of each trial, and the best until then.", showlegend=True,
        legend={"orientation": "h", "y": 1.12}, xaxis={"title": {"text": "trial"}, "tickformat": "d"},
        yaxis={"title": {"text": _plain(metric)}},
    )  # fmt: skip


def _importances(study: optuna.Study) -> Html:
    found, note = importances(study), importance_note(study)
    if not found:
        return _headed("Parameter importances", _tag("p", note[:1].upper() + note[1:] + ".", "soft"))
    names = [_plain(key) for key in reversed(found)]
    bars = go.Bar(
        x=list(reversed(found.values())), y=names, orientation="h", marker_color=BLUE,
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )  # fmt: skip
    caption = "How much of the differences between trials each parameter explains (fANOVA)."
    return _chart(
        "Parameter importances", [bars], f"{caption} Note: {note}." if note else caption,
        xaxis={"tickformat": ".0%", "rangemode": "tozero"}, yaxis={"type": "category"},
    )  # fmt: skip


def _slices(trials: Sequence[FrozenTrial], metric: str, winner: FrozenTrial) -> list[Html]:
    """Value against each parameter, on the axis that its space has."""
    seen = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    charts = []
    for key in dict.fromkeys(key for trial in seen for key in trial.params):
        having = [trial for trial in seen if key in trial.params]
        distribution = having[0].distributions[key]
        points: list[Any] = [trial.params[key] for trial in having]
        axis: dict[str, Any] = {"title": {"text": _plain(key)}}
        if isinstance(distribution, CategoricalDistribution):
            order = [_plain(choice) for choice in distribution.choices]
            points = [_plain(point) for point in points]
            axis |= {"type": "category", "categoryorder": "array", "categoryarray": order}
        elif getattr(distribution, "log", False):
            axis |= {"type": "log", **_log_ticks(min(points), max(points))}
        traces = [_dots(having, points)]
        if winner in having:
            star = {"color": ORANGE, "size": 13, "symbol": "star"}
            traces.append(_dots([winner], [points[having.index(winner)]], marker=star))
        charts.append(_chart(key, traces, "", xaxis=axis, yaxis={"title": {"text": _plain(metric)}}))
    return charts


def _parallel(study: optuna.Study, metric: str) -> Html:
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 2 or not complete[0].params:
        return Html()
    lines = optuna.visualization.plot_parallel_coordinate(study, target_name=_plain(metric)).data[0]
    for axis in lines.dimensions:
        axis.label = _plain(axis.label.rpartition(".")[2])  # the whole of a dotted key runs into its neighbour
        axis.ticktext = [_plain(text) for text in axis.ticktext] if axis.ticktext is not None else None
    lines.line.update(colorscale=[[0, GREY], [0.6, BLUE], [1, ORANGE]], reversescale=False, showscale=False)
    lines.unselected = {"line": {"opacity": 0.1}}
    caption = "A line a trial, orange the higher its value. Draw along an axis to keep only the lines through there."
    chart = _chart("Parallel coordinates", [lines], caption, height=380, margin={"l": 60, "r": 60, "t": 60, "b": 30})
    return _section("All parameters at once", Html(f'<div class="wide">{chart}</div>'))


def _dots(trials: Sequence[FrozenTrial], x: Sequence[Any], **changes: Any) -> go.Scatter:
    marker = {"color": BLUE, "size": 8, "opacity": 0.8, "symbol": changes.pop("symbol", "circle")}
    return go.Scatter(
        x=x, y=[trial.value for trial in trials], mode="markers", customdata=[trial.number for trial in trials],
        hovertemplate="trial %{customdata}: %{y:.5g}<br>%{x}<extra></extra>", **{"marker": marker, **changes},
    )  # fmt: skip


def _log_ticks(low: float, high: float) -> dict[str, list[Any]]:
    """1, 2, 5, 10, … written in full: Plotly's own write 0.002 as a bare 2."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [m * 10.0**p for p in powers for m in ((1,) if high / low > 300 else (1, 2, 5))]
    ticks = [tick for tick in ticks if low / 1.5 <= tick <= high * 1.5] or [low, high]
    return {"tickvals": ticks, "ticktext": [f"{tick:.6g}" for tick in ticks]}


def _chart(title: str, traces: Sequence[Any], caption: str, **layout: Any) -> Html:
    """A figure with its title and caption as page text, which wraps on a phone as Plotly's would not."""
    clear = "rgba(0,0,0,0)"
    figure = go.Figure(
        traces,
        {
            "template": "none", "height": 300, "margin": {"l": 10, "r": 10, "t": 10, "b": 10}, "showlegend": False,
            "paper_bgcolor": clear, "plot_bgcolor": clear, "dragmode": False,
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": GREY},
        },
    )  # fmt: skip
    # Without zoom, a finger on a chart scrolls the page.
    figure.update_xaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_yaxes(automargin=True, fixedrange=True, zeroline=False)
    figure.update_layout(**layout)
    # `<` within a script would end it at a hostile moment.
    data = (figure.to_json() or "").replace("<", "\\u003c")
    script = f'<script type="application/json">{data}</script>'
    drawn = f'<div class="scroll"><div class="chart" role="img" aria-label="{_h(title)}">{script}</div></div>'
    return Html(f"<figure><h3>{_h(title)}</h3>{drawn}<figcaption>{_h(caption)}</figcaption></figure>")
