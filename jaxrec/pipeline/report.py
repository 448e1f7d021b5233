"""The page of a pipeline: what each stage does to lists, and the trade-off that was looked at on validation."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from jaxrec.page.figure import BLUE, GREY, chart, titled
from jaxrec.page.html import Html, box, cards, decimals, details, grid, page, section, table, tag
from jaxrec.pipeline.list_measures import larger_is_better
from jaxrec.pipeline.pipeline import WEIGHT
from jaxrec.report.charts import STAR
from jaxrec.settings import Tree, flat

METRICS = {
    "ndcg": ("NDCG", "hits count more the higher they stand"),
    "recall": ("Recall", "share of the test items that made the list"),
    "hit_rate": ("Hit rate", "share of users with a hit"),
    "diversity": ("Intra-list diversity", "1 - cosine of two items of a list, in the mean"),
    "novelty": ("Novelty", "-log2 of the share of users who had an item, in bits"),
    "serendipity": ("Serendipity", "share of the list that are hits which popularity would not have listed"),
    "coverage": ("Coverage", "share of the catalogue that is in somebody's list"),
    "gini": ("Gini", "how unevenly lists spread over the catalogue; 0 is evenly"),
    "popularity": ("Popularity", "interactions in train of an item, in the mean"),
    "popularity_bias": ("Popularity bias", "popularity of the list over that of the user's own history, less 1"),
    "exposure_disparity": ("Exposure disparity", "share of all exposure that is with the wrong group of items"),
    "list_exposure_disparity": ("Exposure disparity of a list", "the same of each list, in the mean"),
    "calibration_error": ("Calibration error", "KL of the user's own mix of categories and the list's"),
    "freshness": ("Freshness", "2^(-age / half-life), in the mean"),
}


def report(
    title: str,
    tree: Tree,
    stages: pd.DataFrame,
    said: Mapping[str, float],
    curve: pd.DataFrame | None,
    *,
    knob: str | None,
    metric: str,
    picked: float | None,
) -> str:
    """The page; `curve` is None where no trade-off was asked for."""
    k, steps = tree["k"], ", ".join(tree["rerank"]) or "none"
    body = [
        tag("h1", title),
        tag("p", f"Run {tree['run']}; steps of re-ranking: {steps}. {_protocol(knob, picked)}", "soft"),
        cards(*_cards(stages, k)),
        section("Stage by stage, on test", box(_table(stages, k)), _candidates(said)),
        _tradeoff(curve, k, knob, metric, picked) if curve is not None else Html(),
        section("Settings", details("All settings", table(["setting", "value"], flat(tree).items()))),
        tag(
            "p",
            "Beside this page: stages.csv, pipeline.json" + (", tradeoff.csv." if curve is not None else "."),
            "soft",
        ),
    ]
    return page(title, body)


def _protocol(knob: str | None, picked: float | None) -> str:
    if picked is not None:
        return f"{knob}={picked:g} was chosen on validation; the test split was read once, for this setting."
    return "Strengths were set by hand; the test split was read once, for this setting."


def _cards(stages: pd.DataFrame, k: int) -> list[tuple[str, str, str]]:
    quality = f"ndcg@{k}"
    shown: list[tuple[str, str, str]] = []
    for row in stages.to_dict("records"):
        low, high = row["difference low"], row["difference high"]
        note = f"{row['difference']:+.4f} ({low:+.4f} to {high:+.4f})" if shown else "alone"
        shown.append((f"NDCG@{k}, {row['stage']}", decimals(row[quality]), note))
    return shown


def _table(stages: pd.DataFrame, k: int) -> Html:
    rows = []
    for key, (name, meaning) in METRICS.items():
        if (column := f"{key}@{k}") in stages:
            better = "larger" if larger_is_better(key) else "smaller"
            rows.append((f"{name}@{k}", *(decimals(value) for value in stages[column]), better, meaning))
    return table(["metric", *stages["stage"], "better", "what it is"], rows)


def _candidates(said: Mapping[str, float]) -> Html:
    shown = [(what, f"{100 * value:.1f} %" if value <= 1 else f"{value:.1f}") for what, value in said.items()]
    return box(table(["of candidates", ""], shown))


def _tradeoff(curve: pd.DataFrame, k: int, knob: str | None, metric: str, picked: float | None) -> Html:
    """The metric that the step is for first, then all others."""
    quality = f"ndcg@{k}"
    others = [key for key in curve.columns[1:] if key not in (quality, metric)]
    note = (
        f"On validation, by {knob}: each point is a value of it, the grey one is {without(knob)}"
        + (f", the star is the value chosen, {picked:g}." if picked is not None else ".")
        + " No number in here has seen the test split."
    )
    # Quality itself is drawn by the value.
    first = str(knob) if metric == quality else metric
    drawn = [_chart(curve, str(knob), key, quality, picked, labelled=key == metric) for key in (first, *others)]
    return section("What it costs and buys", tag("p", note, "soft"), grid(drawn[:1]), grid(drawn[1:], "grid three"))


def without(knob: str | None) -> str:
    """What the first row of a curve is."""
    return "the first model alone" if knob == WEIGHT else "without re-ranking"


def _chart(curve: pd.DataFrame, knob: str, key: str, quality: str, picked: float | None, *, labelled: bool) -> Html:
    base, along = curve.iloc[:1], curve.iloc[1:]
    tip = f"{knob} %{{text}}<br>{key} %{{x:.4f}}<br>{quality} %{{y:.4f}}<extra></extra>"

    def points(of: pd.DataFrame, text: list[str], **look: Any) -> go.Scatter:
        return go.Scatter(x=of[key], y=of[quality], text=text, hovertemplate=tip, **look)

    strengths = [f"{value:g}" if value != picked else "" for value in along[knob]]  # that one has its star
    mode = "lines+markers+text" if labelled else "lines+markers"
    traces = [
        points(along, strengths, mode=mode, textposition="top center", cliponaxis=False, line_color=BLUE),
        points(base, ["none"], mode="markers", marker={"color": GREY, "size": 11}),
    ]
    if picked is not None:
        traces.append(points(along[along[knob] == picked], [f"{picked:g}"], mode="markers", marker=STAR))
    axes = {"xaxis": titled(key), "yaxis": titled(quality)}
    if key == knob:
        return chart(f"NDCG by {knob}", traces, "", **axes)
    name, meaning = METRICS.get(key.partition("@")[0], (key, key))
    better = "larger" if larger_is_better(key) else "smaller"
    return chart(f"{name} and NDCG", traces, f"{meaning}; {better} is better.", **axes)
