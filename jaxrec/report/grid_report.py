"""Report of a grid of runs, as a table and as an HTML page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.experiment import Result
from jaxrec.metric_names import larger_is_better
from jaxrec.page.figure import BLUE, GRAY, chart, named, plain
from jaxrec.page.html import Cell, Html, box, cards, decimals, frame, grid, interval, page, section, tag
from jaxrec.page.html import table as html_table
from jaxrec.page.metric_labels import label

DRAWN = 30  # maximum number of runs in the chart


@dataclass(frozen=True)
class Row:
    """One run of the grid: its overrides, and its result or the error."""

    overrides: str
    result: Result | None = None
    error: str = ""


def runs_table(rows: Sequence[Row], popularity: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """Return one row per run, in the order of the command, then the popularity baseline if no run has its metrics.

    `popularity` has the metrics of the baseline by part; it is empty for runs on several splits, which have no common
    one.

    Columns: validation metrics, then test metrics, then the ends of their intervals.
    """
    records = []
    for number, row in enumerate(rows):
        start = {"run": number, "overrides": row.overrides, "state": "failed" if row.result is None else "complete"}
        if row.result is None:
            records.append({**start, "error": row.error})
            continue
        metrics = row.result.metrics
        numbers = {**_prefixed("validation", metrics["validation"]), **_prefixed("test", metrics["test"])}
        for key, (low, high) in metrics["test_interval"].items():
            numbers |= {f"test_{key}_low": low, f"test_{key}_high": high}
        details = {
            "best_epoch": metrics["best_epoch"],
            "train_s": metrics["time"]["train_s"],
            "path": f"{number}/",  # the slash keeps CSV readers from parsing it as a number
        }
        records.append({**start, **numbers, **details})
    numbers = {key: value for part, values in popularity.items() for key, value in _prefixed(part, values).items()}
    if popularity and not any(_agree(record, numbers) for record in records):
        records.append({"run": len(rows), "overrides": "popularity", "state": "baseline", **numbers})
    table = pd.DataFrame(records)
    first = [c for c in table if c in ("run", "overrides", "state", "error")]
    by_part = [c for part in ("validation_", "test_") for c in table if str(c).startswith(part)]
    return table[[*first, *by_part, *(c for c in table if c not in {*first, *by_part})]]


def by_validation(table: pd.DataFrame, monitor: str | None) -> pd.DataFrame:
    """Sort runs by the monitored validation metric, best first; unchanged if there is none."""
    if (key := f"validation_{monitor}") not in table:
        return table
    return table.sort_values(key, ascending=not larger_is_better(str(monitor)), kind="stable", na_position="last")


def grid_report(
    name: str, table: pd.DataFrame, monitor: str | None, data: str, means: pd.DataFrame | None = None
) -> str:
    """Return the HTML page of a grid.

    Args:
        name: title of the page.
        table: the table of `runs_table`.
        monitor: metric to rank by, or None.
        data: name of the data.
        means: means over seeds and folds of each setting, if there are several.
    """
    ranked, key, metric = by_validation(table, monitor), f"validation_{monitor}", label(f"validation {monitor}")
    is_ranked = key in ranked
    runs, failed = ranked[ranked.state == "complete"], table[table.state == "failed"]
    figures: list[tuple[str, str, str]] = [("runs complete", f"{len(runs):,}", f"{len(failed):,} failed")]
    if is_ranked and len(runs):
        figures.insert(0, (f"best {metric}", decimals(runs[key].iloc[0]), str(runs.overrides.iloc[0])))
    order = f"sorted by {metric}" if is_ranked else "in the order of the command"
    note = "Choose by validation: the best of several test values is biased upward. runs.csv has all metrics."
    body = [
        tag("h1", name),
        tag("p", f"Every combination on {data}, {order}. {note}", "soft"),
        cards(*figures),
        section(
            "Runs", *([_chart(ranked, key, metric)] if is_ranked and len(runs) else []), box(_runs(ranked, monitor))
        ),
    ]
    if means is not None and len(means) and f"test_{monitor}" in means:
        body.insert(-1, section(f"Means over {_replicas(means)}", box(_means(means, str(monitor)))))
    if len(failed):
        body.append(section("Failed", box(frame(failed[["run", "overrides", "error"]]))))
    return page(name, body)


def _runs(ranked: pd.DataFrame, monitor: str | None) -> Html:
    """Return a table of runs, overrides and selected metrics; each run links to its report."""
    length = str(monitor).partition("@")[2] or "10"
    keys = dict.fromkeys([str(monitor), *(f"{name}@{length}" for name in ("ndcg", "recall", "hit_rate", "coverage"))])
    columns = [f"{part}_{key}" for part in ("validation", "test") for key in (list(keys)[:1], keys)[part == "test"]]
    columns = [column for column in columns if column in ranked]
    labels = [label(column.replace("_", " ", 1)) for column in columns]
    extra = [column for column in ("best_epoch", "train_s") if column in ranked]
    with_state = bool((ranked.state == "failed").any())
    heads = [
        "run",
        "overrides",
        *(["state"] if with_state else []),
        *labels,
        *({"best_epoch": "best epoch", "train_s": "training,\u00a0s"}[c] for c in extra),
    ]
    rows = []
    for row in ranked.to_dict("records"):
        values = [Cell(decimals(row[column]), key=row[column]) for column in columns]
        more = [_cost(c, row[c]) for c in extra]
        link = Html('<a href="{}report.html">{}</a>').format(row.get("path"), row["run"])
        shown = {"complete": link, "baseline": ""}.get(row["state"], row["run"])
        run = Cell(shown, key=row["run"])
        rows.append([run, row["overrides"], *([row["state"]] if with_state else []), *values, *more])
    return html_table(heads, rows, sortable=True)


def _cost(column: str, value: float) -> Cell:
    """Return the cell of a best epoch, which models without epochs do not have, or of seconds."""
    is_missing = pd.isna(value) or (column == "best_epoch" and value == 0)
    return Cell("" if is_missing else f"{value:.0f}" if column == "best_epoch" else f"{value:,.1f}", key=value)


def _means(means: pd.DataFrame, monitor: str) -> Html:
    """Return a table of settings with mean, standard deviation over runs, and interval of the monitored metric."""
    numbers = [name for name in ("seeds", "folds") if name in means]
    parts = [part for part in ("validation", "test") if f"{part}_{monitor}" in means]
    rows = []
    for row in means.to_dict("records"):
        cells: list[Cell] = []
        for key in (f"{part}_{monitor}" for part in parts):
            low, high = row[f"{key}_low"], row[f"{key}_high"]
            cells.append(Cell(decimals(row[key]), note=interval(low, high)))
            cells.append(Cell(decimals(row[f"{key}_sd"])))
        rows.append([row["overrides"], *(Cell(row[name]) for name in numbers), *cells])
    over = _replicas(means)
    note = (
        f"sd: standard deviation over {over}. In small type: 95% intervals, for test over users and {over}, for "
        f"validation over {numbers[-1]}."
    )
    heads = ["overrides", *numbers, *(text for part in parts for text in (f"{part} {label(monitor)}", "sd"))]
    return html_table(heads, rows) + tag("p", note, "soft note")


def _replicas(means: pd.DataFrame) -> str:
    return "seeds and folds" if "folds" in means else "seeds"


def _chart(ranked: pd.DataFrame, key: str, metric: str) -> Html:
    """Draw bars of the monitored metric, the best run on top."""
    drawn = ranked[ranked[key].notna()]
    drawn = drawn[(np.arange(len(drawn)) < DRAWN) | (drawn.state == "baseline")][::-1]
    colors = [GRAY if state == "baseline" else BLUE for state in drawn.state]
    bars = go.Bar(
        x=drawn[key],
        y=list(range(len(drawn))),
        orientation="h",
        marker_color=colors,
        text=[decimals(value) for value in drawn[key]],
        textposition="auto",
        cliponaxis=False,
        hovertext=[plain(text) for text in drawn.overrides],
        hoverinfo="text",
    )
    axes = {
        "xaxis": {"rangemode": "tozero", "nticks": 6, "tickangle": 0},
        "yaxis": named(drawn.overrides.astype(str)),
    }
    parts = [f"The best {DRAWN} runs."] if len(drawn) < ranked[key].notna().sum() else []
    parts += ["Gray: the most popular items for every user."] if (drawn.state == "baseline").any() else []
    caption = " ".join(parts)
    return grid([chart(f"V{metric[1:]} by run", [bars], caption, height=110 + 28 * len(drawn), bargap=0.3, **axes)])


def _agree(record: Mapping[str, object], numbers: Mapping[str, object]) -> bool:
    """Return whether a run has the metrics of the baseline: it is the baseline itself, e.g. of `model=popularity`."""
    own = [record.get(key, np.nan) for key in numbers]
    return np.allclose(np.array(own, float), np.array(list(numbers.values()), float), equal_nan=True)


def _prefixed(part: str, metrics: Mapping[str, object]) -> dict[str, object]:
    return {f"{part}_{key}": value for key, value in metrics.items()}
