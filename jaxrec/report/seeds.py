"""Page of a run with several seeds: means, standard deviations, intervals, and every seed."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from jaxrec.experiment import Result
from jaxrec.page.figure import BLUE, GREEN, chart, counted, titled
from jaxrec.page.html import Cell, Html, box, cards, decimals, facts, grid, interval, page, section, table, tag
from jaxrec.page.metric_labels import label
from jaxrec.report.metric_lengths import metrics_at
from jaxrec.report.protocol import protocol
from jaxrec.settings import Tree, get

Summary = Mapping[str, Mapping[str, Mapping[str, float]]]


def seeds_report(name: str, tree: Tree, results: Mapping[int, Result], summary: Summary, best: int) -> str:
    """Return the HTML page of a run with several seeds.

    Args:
        name: name of the run.
        tree: the configuration.
        results: results by seed.
        summary: mean, sd, low and high by part (validation, test) and metric.
        best: the seed that is best on validation.
    """
    first = results[best]
    monitor = str(get(tree, "eval.monitor", ""))
    key = monitor if monitor in summary["test"] else next(iter(summary["test"]))
    entry, popularity = summary["test"][key], first.metrics["popularity"]
    title = f"{get(tree, 'model._target_', 'model').rpartition('.')[2]} on {first.known.name}, {len(results)} seeds"
    head = {key: text for key, text in protocol(tree, first.metrics) if key != "Seed"}
    ends = interval(entry["low"], entry["high"])
    spread = "unknown" if np.isnan(entry["sd"]) else decimals(entry["sd"])
    body = [
        tag("h1", title),
        facts(("Run", name), *head.items()),
        cards(
            (label(f"test {key}"), decimals(entry["mean"]), f"95% interval {ends}" if ends else ""),
            ("standard deviation over seeds", spread, label(f"test {key}")),
            (
                f"{label(key)} of popularity",
                decimals(first.metrics["popularity"].get(key)),
                "the most popular items for every user",
            ),
            ("best on validation", f"seed {best}", "loaded by jaxrec.load and jaxrec recommend"),
        ),
        section("Metrics", _metrics(summary, popularity, key)),
        section("Seeds", grid([_by_seed(results, key, best)]), _runs(results, key)),
    ]
    return page(title, body)


def _metrics(summary: Summary, popularity: Mapping[str, float], monitor: str) -> Html:
    rows = {
        key: [*_cells(summary["validation"].get(key)), *_cells(entry), Cell(decimals(popularity.get(key)))]
        for key, entry in summary["test"].items()
    }
    heads = ["metric", "validation", "sd", "test", "sd", "popularity"]
    note = (
        "sd: standard deviation over seeds. In small type: 95% intervals, over users and seeds for test metrics with a "
        "value per user, over seeds for all others."
    )
    return box(metrics_at(heads, rows, monitor, tag("p", note, "soft note")))


def _cells(entry: Mapping[str, float] | None) -> list[Cell]:
    """Return cells of a mean with its interval, and of the standard deviation."""
    if entry is None:
        return [Cell(""), Cell("")]
    return [Cell(decimals(entry["mean"]), note=interval(entry["low"], entry["high"])), Cell(decimals(entry["sd"]))]


def _by_seed(results: Mapping[int, Result], key: str, best: int) -> Html:
    """Draw a metric on validation and test by seed."""
    parts = [(part, color) for part, color in (("validation", GREEN), ("test", BLUE))]
    traces = [
        go.Scatter(
            x=list(results),
            y=[result.metrics[part].get(key) for result in results.values()],
            mode="markers",
            name=part,
            marker={"color": color, "size": 10, "symbol": ["star" if s == best else "circle" for s in results]},
            hovertemplate=f"{part}, seed %{{x}}: %{{y:.4f}}<extra></extra>",
        )
        for part, color in parts
        if key in next(iter(results.values())).metrics[part]
    ]
    caption = f"Blue: test; green: validation. The star marks seed {best}, the best on validation."
    axes = {"xaxis": counted("seed", len(results)), "yaxis": titled(label(key))}
    return chart(f"{label(key)} by seed", traces, caption, **axes)


def _runs(results: Mapping[int, Result], key: str) -> Html:
    rows = []
    for seed, result in results.items():
        link = Html('<a href="seed-{}/report.html">{}</a>').format(seed, seed)
        values = [result.metrics[part].get(key) for part in ("validation", "test")]
        epoch = result.metrics["best_epoch"]
        rows.append([Cell(link, key=seed), *(Cell(decimals(v), key=v) for v in values), Cell(epoch, key=epoch)])
    heads = ["seed", label(f"validation {key}"), label(f"test {key}"), "best epoch"]
    return box(table(heads, rows, sortable=True))
