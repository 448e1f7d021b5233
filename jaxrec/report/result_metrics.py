"""Test metrics of one result: cards and a table, next to those of popularity."""

import math
from collections.abc import Mapping

from jaxrec.experiment import Result
from jaxrec.metric_names import SAMPLED
from jaxrec.page.html import Cell, Html, box, decimals, details, interval, table, tag
from jaxrec.page.metric_labels import label, meaning


def interrupted(result: Result) -> Html:
    """Return a warning if training was interrupted."""
    text = "Training was interrupted: these are the metrics of the parameters at that point."
    return tag("p", text, "warn") if result.metrics.get("interrupted") else Html()


def test_cards(result: Result) -> list[tuple[str, str, str]]:
    """Return cards of the leading metric, its value for popularity, and their ratio."""
    key = leading(result)
    value, popular = (result.metrics[part].get(key, math.nan) for part in ("test", "popularity"))
    times = value / popular if popular else math.nan
    ends = test_interval(result, key)
    return [
        (label(f"test {key}"), decimals(value), f"95% interval {ends}" if ends else ""),
        (f"{label(key)} of popularity", decimals(popular), "the most popular items for every user"),
        ("relative to popularity", f"{times:.2f}\u00d7" if math.isfinite(times) else "n/a", label(f"test {key}")),
    ]


def leading(result: Result) -> str:
    """Return the metric shown first: NDCG@10 if it was measured, else the first one."""
    test = result.metrics["test"]
    usual = [key for key in ("ndcg@10", f"{SAMPLED}ndcg@10") if key in test]
    return usual[0] if usual else next(iter(test), "ndcg@10")


def metric_table(result: Result) -> Html:
    """Return a table of metrics: for each k, the model's value with its interval, and that of popularity."""
    test, popular = result.metrics["test"], result.metrics["popularity"]
    undefined: Mapping[str, str] = result.metrics.get("undefined", {})
    names = list(dict.fromkeys(key.partition("@")[0] for key in test))
    ks = sorted({key.partition("@")[2] for key in test}, key=lambda k: int(k or 0))
    rows = []
    for name in names:
        row: list[object] = [label(name)]
        for key in (f"{name}@{k}" if k else name for k in ks):
            value = "undefined" if key in undefined else decimals(test[key]) if key in test else ""
            row.append(Cell(value, note=test_interval(result, key)))
            row.append(Cell(decimals(popular.get(key)) if key in test else "", "number soft"))
        rows.append(row)
    above = [("", 1), *((f"at {k}" if k else "", 2) for k in ks)]
    legend = [(label(name), meaning(name)) for name in names if meaning(name)]
    return box(
        table(["metric", *["model", "popularity"] * len(ks)], rows, above=above),
        *(tag("p", f"{label(key)} is undefined: {why}.", "warn") for key, why in undefined.items()),
        tag(
            "p",
            "In small type: 95% bootstrap intervals over users. They do not include the variance over training seeds.",
            "soft note",
        ),
        details("Definitions", table([], legend)),
    )


def test_interval(result: Result, key: str) -> str:
    """Return the 95% interval of a test metric as text; empty if it has none."""
    low, high = result.metrics.get("test_interval", {}).get(key, (math.nan, math.nan))
    return interval(low, high)
