"""HTML report of a pipeline: metrics by stage, trade-off on validation, and example lists before and after."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.page.figure import BLUE, GRAY, chart, plain, titled
from jaxrec.page.html import Cell, Html, box, cards, decimals, details, facts, grid, page, plural, section, table, tag
from jaxrec.page.metric_labels import METRICS, label, meaning
from jaxrec.pipeline.list_evaluator import larger_is_better
from jaxrec.pipeline.pipeline import WEIGHT
from jaxrec.report.charts import STAR
from jaxrec.settings import Tree, flat

CURVES = ("diversity", "coverage", "novelty", "popularity_bias", "calibration_error", "exposure_disparity", "recall")
N_CURVES = 4


class Example(NamedTuple):
    """Example user: id, history length, and lists before and after re-ranking as (title, is relevant)."""

    user: object
    n_known: int
    before: list[tuple[str, bool]]
    after: list[tuple[str, bool]]


class Tradeoff(NamedTuple):
    """Validation metrics by the value of a varied number.

    Attributes:
        knob: the number
        metric: the metric traded against NDCG
        curve: one row per value, see `pipeline.curve`
        picked: the value chosen by them; None if it was set manually
    """

    knob: str
    metric: str
    curve: pd.DataFrame
    picked: float | None


def report(
    title: str,
    tree: Tree,
    stages: pd.DataFrame,
    candidates: Mapping[str, float],
    tradeoff: Tradeoff | None,
    examples: list[Example],
) -> str:
    """Return the report as HTML.

    Args:
        title: heading of the page.
        tree: the settings.
        stages: test metrics, one row per stage.
        candidates: statistics of the candidates.
        tradeoff: the trade-off on validation; None without one.
        examples: example users.
    """
    k, steps = tree["k"], ", ".join(tree["rerank"]) or "none"
    files = "stages.csv, pipeline.json" + (", tradeoff.csv" if tradeoff is not None else "")
    body = [
        tag("h1", title),
        facts(("Run", tree["run"]), ("Re-ranking", steps), ("Protocol", _protocol(tradeoff))),
        cards(*_cards(stages, k)),
        section("Test metrics by stage", box(_table(stages, k), _candidates(candidates))),
        _tradeoff(tradeoff, k) if tradeoff is not None else Html(),
        section("Lists before and after", grid([_example(example) for example in examples], "grid three"))
        if examples
        else Html(),
        section("Settings", details("All settings", table(["setting", "value"], flat(tree).items()))),
        tag("p", f"Also in this folder: {files}.", "soft"),
    ]
    return page(title, body)


def _protocol(tradeoff: Tradeoff | None) -> str:
    if tradeoff is None or tradeoff.picked is None:
        return "All settings were set manually; the test set was used once."
    value = f"{tradeoff.knob}={tradeoff.picked:g}"
    return f"{value} was chosen on validation; the test set was used once, for this setting."


def _cards(stages: pd.DataFrame, k: int) -> list[tuple[str, str, str]]:
    quality = f"ndcg@{k}"
    entries: list[tuple[str, str, str]] = []
    for row in stages.to_dict("records"):
        low, high = row["difference low"], row["difference high"]
        note = f"{row['difference']:+.4f} (95% interval {low:+.4f} to {high:+.4f})" if entries else "before re-ranking"
        entries.append((f"{label(quality)}, {row['stage']}", decimals(row[quality]), note))
    return entries


def _table(stages: pd.DataFrame, k: int) -> Html:
    """Return a table with one row per metric: its value at each stage, and the difference of last and first stage."""
    rows, legend = [], []
    for key in METRICS:
        if (column := f"{key}@{k}") not in stages:
            continue
        values = stages[column].to_list()
        row: list[object] = [f"{label(column)}\u00a0{_arrow(key)}", *(Cell(decimals(value)) for value in values)]
        if len(values) > 1:
            row.append(_difference(values[-1] - values[0], key))
        rows.append(row)
        legend.append((label(key), meaning(key)))
    changed = ["difference"] if len(stages) > 1 else []
    note = "\u2191 larger is better, \u2193 smaller is better. The difference is last stage minus first stage."
    heads = ["metric", *stages["stage"], *changed]
    return table(heads, rows) + tag("p", note, "soft note") + details("Definitions", table([], legend))


def _arrow(key: str) -> str:
    return "\u2191" if larger_is_better(key) else "\u2193"


def _difference(value: float, key: str) -> Cell:
    """Format a difference, green for an improvement and red for a deterioration."""
    if np.isnan(value) or abs(value) < 5e-5:
        return Cell("n/a" if np.isnan(value) else "0.0000")
    return Cell(f"{value:+.4f}", "number good" if (value > 0) == larger_is_better(key) else "number bad")


def _candidates(candidates: Mapping[str, float]) -> Html:
    rows = [(name, Cell(f"{100 * value:.1f}%" if value <= 1 else f"{value:.1f}")) for name, value in candidates.items()]
    note = tag("p", "Candidate recall: share of the relevant test items that are among the candidates.", "soft note")
    return tag("h3", "Candidates") + table([], rows) + (note if "candidate recall" in candidates else Html())


def _example(example: Example) -> Html:
    """Return the list after re-ranking, with the previous rank of each item."""
    previous = {name: rank for rank, (name, _) in enumerate(example.before, 1)}
    kept = {name for name, _ in example.after}
    rows = [
        (rank, name, "hit" if hit else "", Cell(str(previous.get(name, "new"))))
        for rank, (name, hit) in enumerate(example.after, 1)
    ]
    dropped = [(previous[name], name, "hit" if hit else "") for name, hit in example.before if name not in kept]
    parts = [
        tag("h3", f"User {example.user}"),
        tag("p", f"{plural(example.n_known, 'interaction')} in the history.", "soft"),
        table(["", "after re-ranking", "", "before"], rows),
    ]
    if dropped:
        parts.append(table(["", "dropped from the first list", ""], dropped))
    return box(*parts)


def _tradeoff(tradeoff: Tradeoff, k: int) -> Html:
    """Return the trade-off charts: the metric of the step first, then up to three others."""
    quality, (knob, metric, curve, picked) = f"ndcg@{k}", tradeoff
    others = [key for name in CURVES if (key := f"{name}@{k}") in curve and key not in (quality, metric)]
    note = (
        f"Each point is a value of {knob}; gray is {without(knob)}"
        + (f", and the star is the chosen value, {picked:g}." if picked is not None else ".")
        + " All values are on validation data; tradeoff.csv has every metric."
    )
    # NDCG itself is plotted against the knob.
    first = knob if metric == quality else metric
    keys = [first, *others][:N_CURVES]
    drawn = [_chart(curve, knob, key, quality, picked) for key in keys]
    return section("Trade-off on validation", tag("p", note, "soft"), grid(drawn))


def without(knob: str) -> str:
    """Describe the baseline, the first row of a curve."""
    return "the first model alone" if knob == WEIGHT else "without re-ranking"


def _room(values: pd.Series) -> dict[str, list[float]]:
    """Return an axis range with space for the label at the end of a curve."""
    low, high = float(values.min()), float(values.max())
    space = 0.1 * (high - low)
    return {"range": [low - space, high + space]} if space > 0 else {}


def _chart(curve: pd.DataFrame, knob: str, key: str, quality: str, picked: float | None) -> Html:
    base, along = curve.iloc[:1], curve.iloc[1:]
    tip = f"{plain(knob)} %{{text}}<br>{plain(label(key))} %{{x:.4f}}<br>{label(quality)} %{{y:.4f}}<extra></extra>"

    def points(of: pd.DataFrame, text: list[str], **look: object) -> go.Scatter:
        return go.Scatter(x=of[key], y=of[quality], text=text, hovertemplate=tip, **look)

    strengths = [f"{value:g}" for value in along[knob]]
    traces = [
        points(along, strengths, mode="lines+markers", line_color=BLUE),
        points(base, ["none"], mode="markers", marker={"color": GRAY, "size": 11}),
    ]
    # The last value is labeled, beyond the end of the curve, to show its direction. Spaces keep it off the marker.
    side, end = ("left", "{}\u00a0\u00a0") if along[key].iloc[-1] < along[key].iloc[0] else ("right", "\u00a0\u00a0{}")
    last = {"mode": "text", "textposition": f"middle {side}", "cliponaxis": False, "hoverinfo": "skip"}
    traces.append(points(along[-1:], [end.format(strengths[-1])], **last))
    if picked is not None:
        traces.append(points(along[along[knob] == picked], [f"{picked:g}"], mode="markers", marker=STAR))
    if key == knob:
        axes = {"xaxis": titled(knob) | _room(along[key]), "yaxis": titled(f"{label(quality)} \u2191")}
        return chart(f"{label(quality)} by {knob}", traces, "", **axes)
    axes = {
        "xaxis": titled(f"{label(key)} {_arrow(key)}") | _room(curve[key]),
        "yaxis": titled(f"{label(quality)} \u2191"),
    }
    text = meaning(key)
    caption = f"{text[:1].upper()}{text[1:]}." if text else ""
    return chart(f"{label(key)} and {label(quality)}", traces, caption, **axes)
