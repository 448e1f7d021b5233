"""The runs of a grid as a table and a page: validation first, numbers as numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from jaxrec.experiment import Result
from jaxrec.metric_names import larger_is_better
from jaxrec.page.html import Html, box, cards, decimals, escape, frame, page, section, tag


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
    ranked = by_validation(table, monitor)
    key = f"validation_{monitor}"
    runs = ranked[ranked.state == "complete"]
    shown: list[tuple[str, str, str]] = [
        ("runs complete", f"{len(runs):,}", f"{(table.state == 'failed').sum()} failed")
    ]
    if key in ranked and len(runs):
        shown.insert(0, (f"best validation {monitor}", decimals(runs[key].iloc[0]), str(runs.overrides.iloc[0])))
    links = "".join(
        f'<li><a href="{run.path}report.html">{run.run}: {escape(run.overrides)}</a></li>' for run in runs.itertuples()
    )
    order = f"The best validation {monitor} first." if key in ranked else "In the order typed."
    failed = table[table.state == "failed"]
    body = [
        tag("h1", name),
        tag(
            "p",
            f"Every combination on {data}. {order} Choose by validation: whoever chooses by test overrates.",
            "soft",
        ),
        cards(*shown),
        section("Runs", box(frame(_without_empty(ranked), sortable=True))),
        section("Their pages", box(Html(f"<ul>{links}</ul>"))),
    ]
    if len(failed):
        body.append(section("Failed", box(frame(failed[["run", "overrides", "error"]]))))
    return page(name, body)


def _prefixed(part: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{part}_{key}": value for key, value in metrics.items()}


def _without_empty(table: pd.DataFrame) -> pd.DataFrame:
    return table.drop(columns=[c for c in ("error", "path") if c in table])
