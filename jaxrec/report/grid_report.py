"""The runs of a grid as a table and a page: validation first, numbers as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.experiment import Result
from jaxrec.metric_names import larger_is_better
from jaxrec.page.figure import BLUE, GRAY, chart, plain, titled
from jaxrec.page.html import Cell, Html, box, cards, decimals, frame, grid, page, section, tag
from jaxrec.page.html import table as html_table
from jaxrec.page.metric_labels import label

DRAWN = 30  # runs of the chart


@dataclass(frozen=True)
class Row:
    """One combination: the overrides that make it, and its result or why there is none."""

    overrides: str
    result: Result | None = None
    error: str = ""


def runs_table(rows: Sequence[Row], popularity: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    """A row a run, in the order typed, then popularity: validation metrics, then test with the ends of its interval."""
    records = []
    for number, row in enumerate(rows):
        start = {"run": number, "overrides": row.overrides, "state": "failed" if row.result is None else "complete"}
        if row.result is None:
            records.append({**start, "error": row.error})
            continue
        found = row.result.metrics
        numbers = {**_prefixed("validation", found["validation"]), **_prefixed("test", found["test"])}
        for key, (low, high) in found["test_interval"].items():
            numbers |= {f"test_{key}_low": low, f"test_{key}_high": high}
        seconds = {
            "best_epoch": found["best_epoch"],
            "train_s": found["time"]["train_s"],
            "path": f"{number}/",
        }  # not a number to whoever reads the table
        records.append({**start, **numbers, **seconds})
    numbers = {key: value for part, metrics in popularity.items() for key, value in _prefixed(part, metrics).items()}
    records.append({"run": len(rows), "overrides": "popularity", "state": "baseline", **numbers})
    table = pd.DataFrame(records)
    first = [c for c in table if c in ("run", "overrides", "state", "error")]
    by_part = [c for part in ("validation_", "test_") for c in table if str(c).startswith(part)]
    return table[[*first, *by_part, *(c for c in table if c not in {*first, *by_part})]]


def by_validation(table: pd.DataFrame, monitor: str | None) -> pd.DataFrame:
    """The same rows, the best validation first; as they are where runs are not judged by one metric."""
    if (key := f"validation_{monitor}") not in table:
        return table
    return table.sort_values(key, ascending=not larger_is_better(str(monitor)), kind="stable", na_position="last")


def grid_report(name: str, table: pd.DataFrame, monitor: str | None, data: str) -> str:
    """The page of a grid; `table` is that of `runs_table`."""
    ranked, key, metric = by_validation(table, monitor), f"validation_{monitor}", label(f"validation {monitor}")
    judged = key in ranked
    runs, failed = ranked[ranked.state == "complete"], table[table.state == "failed"]
    shown: list[tuple[str, str, str]] = [("runs complete", f"{len(runs):,}", f"{len(failed):,} failed")]
    if judged and len(runs):
        shown.insert(0, (f"best {metric}", decimals(runs[key].iloc[0]), str(runs.overrides.iloc[0])))
    order = f"sorted by {metric}" if judged else "in the order of the command"
    note = "Choose by validation: the best of several test values is biased upward. runs.csv has all metrics."
    body = [
        tag("h1", name),
        tag("p", f"Every combination on {data}, {order}. {note}", "soft"),
        cards(*shown),
        section("Runs", *([_chart(ranked, key, metric)] if judged and len(runs) else []), box(_runs(ranked, monitor))),
    ]
    if len(failed):
        body.append(section("Failed", box(frame(failed[["run", "overrides", "error"]]))))
    return page(name, body)


def _runs(ranked: pd.DataFrame, monitor: str | None) -> Html:
    """Run, overrides, and the few metrics that fit a page; each run links to its own."""
    length = str(monitor).partition("@")[2] or "10"
    wanted = dict.fromkeys([str(monitor), *(f"{name}@{length}" for name in ("ndcg", "recall", "hit_rate", "coverage"))])
    columns = [f"{part}_{key}" for part in ("validation", "test") for key in (list(wanted)[:1], wanted)[part == "test"]]
    columns = [column for column in columns if column in ranked]
    named = [label(column.replace("_", " ", 1)) for column in columns]
    extra = [column for column in ("best_epoch", "train_s") if column in ranked]
    heads = [
        "run",
        "overrides",
        "state",
        *named,
        *({"best_epoch": "best epoch", "train_s": "seconds"}[c] for c in extra),
    ]
    rows = []
    for row in ranked.to_dict("records"):
        values = [Cell(decimals(row[column]), key=row[column]) for column in columns]
        more = [Cell("" if pd.isna(row[c]) else f"{row[c]:.4g}", key=row[c]) for c in extra]
        link = Html('<a href="{}report.html">{}</a>').format(row.get("path"), row["run"])
        run = Cell(link if row["state"] == "complete" else row["run"], key=row["run"])
        rows.append([run, row["overrides"], row["state"], *values, *more])
    return html_table(heads, rows, sortable=True)


def _chart(ranked: pd.DataFrame, key: str, metric: str) -> Html:
    """Bars of the metric that runs are chosen by, the best on top."""
    drawn = ranked[ranked[key].notna()]
    drawn = drawn[(np.arange(len(drawn)) < DRAWN) | (drawn.state == "baseline")][::-1]
    colors = [GRAY if state == "baseline" else BLUE for state in drawn.state]
    names = [plain(text if len(text) <= 40 else text[:39] + "\u2026") for text in drawn.overrides.astype(str)]
    bars = go.Bar(
        x=drawn[key],
        y=list(range(len(drawn))),
        orientation="h",
        marker_color=colors,
        text=[decimals(value) for value in drawn[key]],
        textposition="auto",
        hovertext=[plain(text) for text in drawn.overrides],
        hoverinfo="text",
    )
    axes = {
        "xaxis": titled(metric, rangemode="tozero"),
        "yaxis": {"tickvals": list(range(len(drawn))), "ticktext": names, "showgrid": False},
    }
    caption = "Gray: the most popular items for every user."
    caption = f"The best {DRAWN} runs. {caption}" if len(drawn) < ranked[key].notna().sum() else caption
    return grid([chart(f"V{metric[1:]} by run", [bars], caption, height=110 + 28 * len(drawn), bargap=0.3, **axes)])


def _prefixed(part: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}_{key}": value for key, value in metrics.items()}
