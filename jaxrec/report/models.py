"""Table of a comparison of models: quality, cost, and how far each was tuned."""

import pandas as pd

from jaxrec.evaluation.cost import N_ITEMS, N_USERS
from jaxrec.page.html import Cell, Html, box, decimals, section, table, tag
from jaxrec.page.metric_labels import label


def models_section(found: pd.DataFrame, monitor: str, reference: str) -> Html:
    """Return the table of models on the page of a comparison.

    Args:
        found: the rows of `comparison.csv`.
        monitor: the metric.
        reference: the model that differences refer to.
    """
    rows = []
    for row in found[found["state"] == "complete"].to_dict("records"):
        link = Html('<a href="{}/report.html">{}</a>').format(row["path"], row["model"])
        is_reference = row["model"] == reference
        ends = "" if is_reference else f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}"
        rows.append(
            [
                Cell(link, "text", key=row["model"]),
                Cell(decimals(row["validation"]), key=row["validation"]),
                Cell(decimals(row["test"]), key=row["test"], note=f"{row['low']:.4f} to {row['high']:.4f}"),
                Cell(
                    "reference" if is_reference else f"{row['difference']:+.4f}",
                    key=0 if is_reference else row["difference"],
                    note=ends,
                ),
                Cell(f"{row['trials']:,.0f}", key=row["trials"]),
                *(Cell(f"{row[key]:,.1f}", key=row[key]) for key in ("search_s", "train_s")),
                Cell(f"{row['n_parameters']:,.0f}", key=row["n_parameters"]),
                Cell(f"{row['latency_ms']:,.1f}", key=row["latency_ms"]),
            ]
        )
    heads = ["model", label(f"validation {monitor}"), label(f"test {monitor}"), f"difference from {reference}"]
    heads += ["trials", "search,\u00a0s", "training,\u00a0s", "parameters", "latency,\u00a0ms"]
    note = (
        "Best validation first. Each model is the best trial of its own search by validation; training is of that "
        f"trial. Latency: milliseconds to list the best {N_ITEMS} items of {N_USERS} users on this machine, the "
        "fastest of 10 measurements. In small type: 95% intervals."
    )
    failed = found[found["state"] == "failed"]
    errors = [tag("p", f"{row['model']} failed: {row['error']}", "warn") for row in failed.to_dict("records")]
    return section("Models", box(table(heads, rows, sortable=True), tag("p", note, "soft note")), *errors)


def shown_models(found: pd.DataFrame, monitor: str) -> pd.DataFrame:
    """Return the columns of the table for a terminal."""
    rows = []
    for row in found.to_dict("records"):
        if row["state"] == "failed":
            rows.append({"model": row["model"], f"test {monitor}": f"failed: {row['error']}"})
            continue
        rows.append(
            {
                "model": row["model"],
                f"validation {monitor}": f"{row['validation']:.4f}",
                f"test {monitor}": f"{row['test']:.4f} ({row['low']:.4f} to {row['high']:.4f})",
                "trials": f"{row['trials']:.0f}",
                "search s": f"{row['search_s']:.1f}",
                "train s": f"{row['train_s']:.2f}",
                "parameters": f"{row['n_parameters']:,.0f}",
                "latency ms": f"{row['latency_ms']:.1f}",
            }
        )
    columns = list(dict.fromkeys(key for row in sorted(rows, key=len, reverse=True) for key in row))
    return pd.DataFrame(rows, columns=columns, dtype=object).fillna("")
