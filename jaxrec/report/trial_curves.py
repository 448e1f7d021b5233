"""Learning curves of the trials of a search."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from optuna.trial import FrozenTrial, TrialState
from plotly.colors import sample_colorscale

from jaxrec.page.figure import BLUE, GRAY, GREEN, LEGEND, ORANGE, chart, counted, titled
from jaxrec.page.html import Html, plural
from jaxrec.report.trial_sample import sample, sample_note
from jaxrec.sweep.objectives import value_of

WORST_TO_BEST = ["#a06fd6", BLUE, GREEN]  # from purple
N_SHADES = 12
MANY_RUNGS = 6

Curve = Mapping[int, float]


def learning_curves(trials: Sequence[FrozenTrial], winner: FrozenTrial, metric: str, *, minimize: bool) -> Html:
    """Draw the best validation so far by epoch, one line per trial; empty if no trial reported two epochs.

    Args:
        trials: complete and pruned trials.
        winner: the best trial, which is highlighted.
        metric: display name of the metric.
        minimize: whether the lowest value is the best.
    """
    curves = {trial.number: curve for trial in trials if (curve := _curve(trial))}
    if not any(len(curve) > 1 for curve in curves.values()):
        return Html()
    with_curve = [trial for trial in trials if trial.number in curves]
    drawn = sample(with_curve, minimize=minimize)
    rungs = Counter(max(curves[trial.number]) for trial in with_curve if trial.state == TrialState.PRUNED)
    traces = _band(list(curves.values())) if len(drawn) < len(with_curve) else []
    traces += [
        *_pruned([trial for trial in drawn if trial.state == TrialState.PRUNED], curves),
        *_complete([trial for trial in drawn if trial.state == TrialState.COMPLETE], curves, minimize=minimize),
        *_winner(winner, curves),
    ]
    last = max(max(curve) for curve in curves.values())
    layout = {
        "xaxis": counted("epoch", last),
        "yaxis": titled(metric),
        "shapes": [_vertical(epoch) for epoch in rungs],
        "height": 420,
        "showlegend": True,
        "legend": LEGEND,
        "hovermode": "closest",
    }
    caption = [
        "Best value so far, one line per trial.",
        _shading(drawn, minimize=minimize),
        sample_note(len(with_curve))
        and f"{sample_note(len(with_curve))} The band holds the middle 90% of all trials in training at that epoch.",
        f"Vertical lines are rungs, at which trials were pruned: {_rungs(rungs)}." if rungs else "",
        f"{plural(len(trials) - len(curves), 'trial')} without reported epochs, e.g. with the parameters of another "
        "trial, not drawn."
        if len(trials) > len(curves)
        else "",
    ]
    title = f"{metric[:1].upper()}{metric[1:]} by epoch"
    return chart(title, traces, " ".join(filter(None, caption)), **layout)


def _curve(trial: FrozenTrial) -> Curve:
    """Return the reported values by epoch, and the final value of a complete trial."""
    curve = {epoch: value for epoch, value in sorted(trial.intermediate_values.items()) if epoch > 0}
    last = trial.user_attrs.get("epochs", 0)
    value = value_of(trial)
    if curve and trial.state == TrialState.COMPLETE and value is not None and last > max(curve):
        curve[last] = value
    return curve


def _shading(drawn: Sequence[FrozenTrial], *, minimize: bool) -> str:
    """Return the meaning of the colors; empty if all complete trials have one value."""
    complete = [value_of(trial) for trial in drawn if trial.state == TrialState.COMPLETE]
    values = sorted({value for value in complete if value is not None})
    if len(values) < 2:
        return ""
    worst, best = (values[-1], values[0]) if minimize else (values[0], values[-1])
    return f"Complete trials are colored by their final value, from purple ({worst:.4g}) to green ({best:.4g})."


def _rungs(rungs: Mapping[int, int]) -> str:
    if len(rungs) > MANY_RUNGS:
        return f"{sum(rungs.values()):,} at {len(rungs)} epochs from {min(rungs)} to {max(rungs)}"
    return ", ".join(f"{n:,} at epoch {epoch}" for epoch, n in sorted(rungs.items()))


def _complete(trials: Sequence[FrozenTrial], curves: Mapping[int, Curve], *, minimize: bool) -> list[go.Scatter]:
    """Return a trace per shade of the final value, as hundreds of traces would be slow."""
    if not trials:
        return []
    values = np.array([value_of(trial) for trial in trials], np.float64)
    worst, best = (values.max(), values.min()) if minimize else (values.min(), values.max())
    shades = np.round((values - worst) / (best - worst or 1.0) * (N_SHADES - 1)).astype(int)
    colors = sample_colorscale(WORST_TO_BEST, np.linspace(0, 1, N_SHADES).tolist())
    return [
        _lines(
            [trial for trial, own in zip(trials, shades, strict=True) if own == shade],
            curves,
            line={"color": colors[shade], "width": 1.5},
            showlegend=False,
        )
        for shade in np.unique(shades)
    ]


def _pruned(trials: Sequence[FrozenTrial], curves: Mapping[int, Curve]) -> list[go.Scatter]:
    if not trials:
        return []
    ends = [max(curves[trial.number]) for trial in trials]
    markers = go.Scatter(
        x=ends,
        y=[_short(curves[trial.number][end]) for trial, end in zip(trials, ends, strict=True)],
        mode="markers",
        marker={"color": GRAY, "size": 6, "symbol": "x"},
        name="pruned",
        customdata=[trial.number for trial in trials],
        hovertemplate="trial %{customdata}, pruned at epoch %{x}: %{y:.5g}<extra></extra>",
    )
    return [_lines(trials, curves, line={"color": GRAY, "width": 1}, opacity=0.6, showlegend=False), markers]


def _winner(winner: FrozenTrial, curves: Mapping[int, Curve]) -> list[go.Scatter]:
    if winner.number not in curves:
        return []
    return [_lines([winner], curves, line={"color": ORANGE, "width": 3}, name=f"best: trial {winner.number}")]


def _lines(trials: Sequence[FrozenTrial], curves: Mapping[int, Curve], **style: object) -> go.Scatter:
    """Return one trace of several curves, with gaps between them."""
    epochs: list[int | None] = []
    values: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        curve = curves[trial.number]
        epochs += [*curve, None]
        values += [*map(_short, curve.values()), None]
        numbers += [*[trial.number] * len(curve), None]
    tip = "trial %{customdata}, epoch %{x}: %{y:.5g}<extra></extra>"
    return go.Scatter(x=epochs, y=values, customdata=numbers, mode="lines", hovertemplate=tip, **style)


def _band(curves: Sequence[Curve]) -> list[go.Scatter]:
    """Return the 5% and 95% quantiles of the curves at each epoch, with the area between them filled."""
    epochs = sorted({epoch for curve in curves for epoch in curve})
    at = [[curve[epoch] for curve in curves if epoch in curve] for epoch in epochs]
    low, high = np.array([np.quantile(values, [0.05, 0.95]) for values in at]).T
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    fill = {"fill": "tonexty", "fillcolor": "rgba(141,151,163,.25)"}
    return [
        go.Scatter(x=epochs, y=low, showlegend=False, **edge),
        go.Scatter(x=epochs, y=high, name="middle 90%", **fill, **edge),
    ]


def _vertical(epoch: int) -> dict[str, object]:
    line = {"color": GRAY, "width": 1, "dash": "dot"}
    return {"type": "line", "x0": epoch, "x1": epoch, "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}


def _short(value: float) -> float:
    """Round to the digits that a chart shows; smaller pages."""
    return float(f"{value:.5g}")
