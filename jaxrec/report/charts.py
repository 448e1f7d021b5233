"""Charts of runs and searches, drawn by Plotly in the browser."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from jaxrec.bootstrap import mean_and_interval
from jaxrec.page.figure import BLUE, GRAY, LEGEND, ORANGE, chart, counted, log_ticks, plain, titled
from jaxrec.page.html import Html, tag
from jaxrec.page.metric_labels import label
from jaxrec.report.trial_sample import sample, sample_note
from jaxrec.sweep.objectives import value_of

STAR = {"color": ORANGE, "size": 13, "symbol": "star"}


def learning_curve(title: str, history: pd.DataFrame, key: str, kept: int) -> Html:
    """Draw a column of the training history by epoch; a star marks the epoch of the final parameters."""
    curve = history[history[key].notna()]
    best = curve[curve["epoch"] == kept]
    traces = [
        go.Scatter(x=curve["epoch"], y=curve[key], mode="lines+markers", line_color=BLUE),
        go.Scatter(x=best["epoch"], y=best[key], mode="markers", marker=STAR),
    ]
    caption = f"By epoch; the star marks epoch {kept}, the one kept." if len(best) else "By epoch."
    return chart(title, traces, caption, xaxis=counted("epoch", len(history)))


def spread(metric: str, values: np.ndarray, noun: str) -> Html:
    """Draw a histogram of a metric over users (or steps, the `noun`)."""
    top = max(1.0, values.max())
    counts, edges = np.histogram(values, bins=20, range=(0, top))
    bars = go.Bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=counts,
        marker_color=BLUE,
        customdata=np.stack([edges[:-1], edges[1:]], axis=1),
        hovertemplate=f"%{{customdata[0]:.2f}} to %{{customdata[1]:.2f}}: %{{y:,}} {noun}s<extra></extra>",
    )
    caption = f"Test {metric} of {len(values):,} {noun}s; {100 * (values == 0).mean():.0f}% of them have 0."
    axes = {"xaxis": titled(metric, range=[-0.02 * top, 1.02 * top]), "yaxis": titled(f"{noun}s")}
    return chart(f"{metric} per {noun}", [bars], caption, bargap=0.05, **axes)


def by_activity(metric: str, values: np.ndarray, lengths: np.ndarray, users: np.ndarray, noun: str) -> Html:
    """Draw the mean of a metric by history length, with confidence intervals.

    Args:
        metric: display name of the metric.
        values: value of each user or step, [R].
        lengths: history length of each, [R].
        users: user of each, [R]; the values of a user are resampled together.
        noun: `user` or `step`.
    """
    # Equal lengths stay together, so quartiles may differ in size, and there may be fewer than four.
    quarter = np.searchsorted(np.unique(np.quantile(lengths, [0.25, 0.5, 0.75])), lengths)
    groups = [quarter == q for q in np.unique(quarter)]
    means, lows, highs = np.array([mean_and_interval(values[group], units=users[group]) for group in groups]).T
    ends = [(lengths[group].min(), lengths[group].max()) for group in groups]
    bars = go.Bar(
        x=[f"{low:,}" if low == high else f"{low:,}\u2013{high:,}" for low, high in ends],
        y=means,
        marker_color=BLUE,
        error_y={"array": highs - means, "arrayminus": means - lows, "color": GRAY, "thickness": 2},
        customdata=[int(group.sum()) for group in groups],
        hovertemplate=f"%{{customdata:,}} {noun}s: %{{y:.4f}}<extra></extra>",
    )
    caption = f"Quarters of the {noun}s by length of history before the test, with 95% intervals."
    axes = {
        "xaxis": titled("interactions in the history", type="category", tickangle=0),
        "yaxis": titled(metric, rangemode="tozero"),
    }
    return chart(f"{metric} by activity", [bars], caption, bargap=0.3, **axes)


def by_group(
    kind: str, key: str, model: Mapping[str, Mapping[str, object]], popular: Mapping[str, Mapping[str, object]]
) -> Html:
    """Draw a metric by group of items or users (`kind`), for the model and, if available, for popularity."""
    pairs = [("model", BLUE, model), ("popularity", GRAY, popular)]
    bars = [
        go.Bar(
            x=list(model),
            y=[groups.get(name, {}).get(key) for name in model],
            name=source,
            marker_color=color,
            customdata=[groups.get(name, {}).get("users", 0) for name in model],
            hovertemplate=f"{source}, %{{x}} (%{{customdata:,}} users): %{{y:.4f}}<extra></extra>",
        )
        for source, color, groups in pairs
        if groups
    ]
    axes = {"xaxis": {"type": "category"}, "yaxis": titled(label(key), rangemode="tozero")}
    return chart(f"{label(key)} by {kind} group", bars, "", bargap=0.3, showlegend=True, legend=LEGEND, **axes)


def by_trial(complete: Sequence[FrozenTrial], pruned: Sequence[FrozenTrial], metric: str, *, minimize: bool) -> Html:
    """Draw the value of each trial, and the best value so far."""
    values = np.array([value_of(trial) for trial in complete], np.float64)
    running = np.minimum.accumulate(values) if minimize else np.maximum.accumulate(values)
    steps = sorted({*np.unique(running, return_index=True)[1].tolist(), len(complete) - 1})
    numbers = [complete[step].number for step in steps]
    line = {"color": ORANGE, "shape": "hv"}
    drawn = sample([*complete, *pruned], minimize=minimize)
    dots = [trial for trial in drawn if trial.state == TrialState.COMPLETE]
    circles = [trial for trial in drawn if trial.state == TrialState.PRUNED]
    traces = [
        go.Scatter(x=numbers, y=running[steps], mode="lines", line=line, name="best so far", hoverinfo="skip"),
        _dots(dots, [trial.number for trial in dots], name="trial"),
    ]
    if circles:
        hollow = {"color": GRAY, "size": 8, "symbol": "circle-open"}
        traces.append(_dots(circles, [trial.number for trial in circles], name="pruned", marker=hollow))
    n_trials = len(complete) + len(pruned)
    axes = {"xaxis": counted("trial", n_trials), "yaxis": titled(metric)}
    title = f"{metric[:1].upper()}{metric[1:]} by trial"
    return chart(title, traces, sample_note(n_trials), showlegend=True, legend=LEGEND, **axes)


def importance_bars(importances: Mapping[str, float], note: str) -> Html:
    """Draw the importance of each parameter."""
    names, shares = [plain(key) for key in importances][::-1], list(importances.values())[::-1]  # the first on top
    tip = "%{y}: %{x:.1%}<extra></extra>"
    bars = go.Bar(x=shares, y=names, orientation="h", marker_color=BLUE, hovertemplate=tip)
    caption = "Share of the variation in the metric that each parameter explains." + (
        f" {note[:1].upper()}{note[1:]}." if note else ""
    )
    axes = {"xaxis": {"tickformat": ".0%", "rangemode": "tozero", "nticks": 5}, "yaxis": {"type": "category"}}
    return chart("Parameter importances", [bars], caption, bargap=0.4, height=120 + 45 * len(names), **axes)


def slices(trials: Sequence[FrozenTrial], metric: str, winner: FrozenTrial) -> list[Html]:
    """Draw the value against each parameter, on the scale of its search space; a star marks the best trial."""
    charts = []
    for key in dict.fromkeys(key for trial in trials for key in trial.params):
        subset = [trial for trial in trials if key in trial.params]
        x, scale = axis(subset[0].distributions[key], [trial.params[key] for trial in subset])
        stars = [place for place, trial in enumerate(subset) if trial.number == winner.number]
        traces = [_dots(subset, x), _dots([subset[p] for p in stars], [x[p] for p in stars], marker=STAR)]
        charts.append(chart(key, traces, "", xaxis=scale, yaxis=titled(metric)))
    return charts


def parallel(trials: Sequence[FrozenTrial], metric: str, *, minimize: bool) -> Html:
    """Draw parallel coordinates: one line per trial through the parameters that all trials share, and its value."""
    shared = [key for key in trials[0].params if all(key in trial.params for trial in trials)]
    columns: list[dict[str, object]] = []
    for key in shared:
        values = [trial.params[key] for trial in trials]
        distribution = trials[0].distributions[key]
        name = plain(key.rpartition(".")[2])  # the full dotted key would overlap the next label
        if isinstance(distribution, CategoricalDistribution):
            names = [plain(choice) for choice in distribution.choices]
            places = [distribution.choices.index(value) for value in values]
            columns.append({"label": name, "values": places, "tickvals": [*range(len(names))], "ticktext": names})
        elif getattr(distribution, "log", False):
            ticks = log_ticks(min(values), max(values), around=True)
            exponents = [math.log10(tick) for tick in ticks["tickvals"]]
            axis = {"range": [exponents[0], exponents[-1]], "tickvals": exponents, "ticktext": ticks["ticktext"]}
            columns.append({"label": name, "values": np.log10(values), **axis})
        else:
            columns.append({"label": name, "values": values})
    value = [value_of(trial) for trial in trials]
    columns.append({"label": plain(metric), "values": value})
    line = {"color": value, "colorscale": [[0, GRAY], [0.6, BLUE], [1, ORANGE]], "reversescale": minimize}
    scale = {"thickness": 12, "outlinewidth": 0, "title": {"text": plain(metric), "side": "right"}, "x": 1.06}
    lines = go.Parcoords(dimensions=columns, line={**line, "showscale": True, "colorbar": scale})
    caption = "One line per trial, colored by its value. Drag along an axis to select lines; click the axis to reset."
    margin = {"l": 60, "r": 20, "t": 60, "b": 20}
    return tag("div", chart("Parallel coordinates", [lines], caption, height=380, margin=margin), "grid wide")


def _dots(trials: Sequence[FrozenTrial], x: Sequence[object], **changes: object) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=[value_of(trial) for trial in trials],
        customdata=[trial.number for trial in trials],
        hovertemplate="trial %{customdata}: %{y:.5g}<br>at %{x}<extra></extra>",
        **{"mode": "markers", "marker": {"color": BLUE, "size": 8, "opacity": 0.8}, **changes},
    )


def axis(distribution: BaseDistribution, values: list[object]) -> tuple[list[object], dict[str, object]]:
    """Return the values on the axis of their distribution, and the axis settings."""
    if isinstance(distribution, CategoricalDistribution):
        order = [plain(choice) for choice in distribution.choices]
        ends = [-0.5, len(order) - 0.5]  # include choices that were never tried
        return [plain(value) for value in values], {"type": "category", "categoryarray": order, "range": ends}
    if getattr(distribution, "log", False):
        numbers = np.asarray(values, np.float64)
        return values, {"type": "log", **log_ticks(numbers.min().item(), numbers.max().item())}
    return values, {}
