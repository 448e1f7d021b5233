"""Population-based training: which member copied which, and their settings over the epochs."""

from collections.abc import Sequence

import plotly.graph_objects as go
from optuna.distributions import IntDistribution
from optuna.trial import FrozenTrial

from jaxrec.page.figure import BLUE, GRAY, LEGEND, ORANGE, chart, counted, titled
from jaxrec.page.html import Html, plural
from jaxrec.report.charts import axis
from jaxrec.sweep.pbt import LINEAGE, Segment, ancestry

Points = list[tuple[int | None, object]]  # epochs and values; None: a gap in the line


def lineage(trials: Sequence[FrozenTrial], winner: FrozenTrial) -> list[Html]:
    """Draw the copies between members, and every setting that changed, by epoch; the winner's ancestry is highlighted.

    Args:
        trials: trials of a population.
        winner: the best trial.
    """
    members = [trial for trial in trials if LINEAGE in trial.user_attrs and "same_as" not in trial.user_attrs]
    lineages = {trial.number: trial.user_attrs[LINEAGE] for trial in members}
    best_epoch = winner.user_attrs["best_epoch"]
    segments = ancestry({trial.number: trial.params for trial in members}, lineages, winner.number, best_epoch)
    ends = [segment.from_epoch - 1 for segment in segments[1:]] + [best_epoch]
    keys = [key for key in winner.params if any(_values(trial, key) != {trial.params.get(key)} for trial in members)]
    return [_copies(members, segments, ends), *(_setting(key, members, segments, ends) for key in keys)]


def _copies(members: Sequence[FrozenTrial], segments: Sequence[Segment], ends: Sequence[int]) -> Html:
    lives: Points = [
        point for t in members for point in ((0, t.number), (t.user_attrs["epochs"], t.number), (None, None))
    ]
    copies: Points = [
        point
        for trial in members
        for copied in trial.user_attrs[LINEAGE]
        for point in ((copied["epoch"], copied["parent"]), (copied["epoch"], trial.number), (None, None))
    ]
    heads = [(copied["epoch"], trial.number) for trial in members for copied in trial.user_attrs[LINEAGE]]
    own: Points = [
        point
        for segment, end in zip(segments, ends, strict=True)
        for point in ((segment.from_epoch - 1, segment.trial), (end, segment.trial))
    ]
    traces = [
        _line(lives, {"color": GRAY, "width": 1}, showlegend=False),
        _line(copies, {"color": BLUE, "width": 1.5}, name="copy"),
        go.Scatter(
            x=[epoch for epoch, _ in heads],
            y=[number for _, number in heads],
            mode="markers",
            marker={"color": BLUE, "size": 6},
            hovertemplate="trial %{y} replaced after epoch %{x}<extra></extra>",
            showlegend=False,
        ),
        _line(own, {"color": ORANGE, "width": 3}, name=f"ancestry of trial {segments[-1].trial}"),
        _star(ends[-1], segments[-1].trial),
    ]
    n = sum(len(trial.user_attrs[LINEAGE]) for trial in members)
    caption = (
        f"One line per trial. {plural(n, 'time')} a trial was replaced by a changed copy of a better one: a vertical "
        "line goes from the copied trial to a dot. The star is the best epoch of all."
    )
    layout = {
        "xaxis": counted("epoch", ends[-1]),
        "yaxis": titled("trial", dtick=1 if len(members) <= 20 else None),
        "height": min(600, 160 + 24 * len(members)),
    }
    return chart("Copies between trials", traces, caption, showlegend=True, legend=LEGEND, **layout)


def _setting(key: str, members: Sequence[FrozenTrial], segments: Sequence[Segment], ends: Sequence[int]) -> Html:
    """Draw the values of one setting by epoch."""
    everyone: Points = [point for trial in members if key in trial.params for point in _steps(trial, key)]
    own: Points = [
        point
        for segment, end in zip(segments, ends, strict=True)
        for point in ((segment.from_epoch - 1, segment.params[key]), (end, segment.params[key]))
    ]
    distribution = next(trial.distributions[key] for trial in members if key in trial.distributions)
    _, scale = axis(distribution, [value for _, value in (*everyone, *own) if value is not None])
    if isinstance(distribution, IntDistribution) and distribution.high - distribution.low <= 10:
        scale |= {"dtick": 1}
    traces = [
        _line(everyone, {"color": GRAY, "width": 1}, opacity=0.6),
        _line(own, {"color": ORANGE, "width": 3}),
        _star(*own[-1]),
    ]
    return chart(f"{key} by epoch", traces, "", xaxis=titled("epoch"), yaxis=scale)


def _steps(trial: FrozenTrial, key: str) -> Points:
    changes = [(0, trial.params), *((copied["epoch"], copied["params"]) for copied in trial.user_attrs[LINEAGE])]
    ends = [epoch for epoch, _ in changes[1:]] + [trial.user_attrs["epochs"]]
    pairs = [((start, params[key]), (end, params[key])) for (start, params), end in zip(changes, ends, strict=True)]
    return [*(point for pair in pairs for point in pair), (None, None)]


def _values(trial: FrozenTrial, key: str) -> set[object]:
    return {trial.params.get(key), *(copied["params"].get(key) for copied in trial.user_attrs[LINEAGE])}


def _line(points: Points, line: dict[str, object], **style: object) -> go.Scatter:
    tip = {"hoverinfo": "skip"}
    return go.Scatter(x=[x for x, _ in points], y=[y for _, y in points], mode="lines", line=line, **tip, **style)


def _star(epoch: object, value: object) -> go.Scatter:
    marker = {"color": ORANGE, "size": 14, "symbol": "star"}
    tip = "best epoch %{x}: %{y}<extra></extra>"
    return go.Scatter(x=[epoch], y=[value], mode="markers", marker=marker, hovertemplate=tip, showlegend=False)
