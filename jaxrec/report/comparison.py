"""Page of a comparison of runs: verdicts, differences from the reference, means, and what differs in the settings."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from jaxrec.metric_names import larger_is_better
from jaxrec.page.figure import BLUE, GRAY, ORANGE, chart, named, plain, titled
from jaxrec.page.html import Cell, Html, box, decimals, details, facts, grid, page, section, table, tag
from jaxrec.page.metric_labels import label
from jaxrec.report.metric_lengths import metrics_at
from jaxrec.statistics import LEVEL

METHOD = (
    "Users and seeds are both samples. The variance of a difference is that of the users' paired differences plus that "
    "of the seed means of either setting, less their interaction, which both contain; intervals and p follow the t "
    "distribution with Satterthwaite's degrees of freedom. p (Wilcoxon) is of the signed-rank test of the users' mean "
    "differences: it does not depend on a few extreme users, but ignores seeds. Both p-values have Holm's correction "
    "for the number of comparisons; intervals are for one comparison each."
)
FOLDS = (
    " Test periods are a third sample: the variance of the fold means is added, less the interaction of users and "
    "folds. Every user of every fold has the same weight."
)


def comparison_report(
    metric: str,
    compared: pd.DataFrame,
    verdicts: Sequence[str],
    *,
    head: Mapping[str, str],
    by_run: Mapping[str, Sequence[tuple[str, float]]],
    means: pd.DataFrame,
    settings: Sequence[Sequence[str]],
    directories: Mapping[str, Sequence[str]],
    lead: Sequence[Html] = (),
    n_folds: int = 1,
) -> str:
    """Return the HTML page of a comparison.

    Args:
        metric: the test metric.
        compared: the table of `jaxrec.statistics.compared`; the first row is the reference.
        verdicts: one sentence for each other row.
        head: facts about data and protocol.
        by_run: name (seed and fold) and mean over users of each run, by setting.
        means: every test metric by setting, [metric, setting].
        settings: key and its value in each setting, where they differ.
        directories: run directories of each setting.
        lead: sections before the result.
        n_folds: number of test periods.
    """
    names, name = list(compared["run"]), label(metric)
    title = f"Comparison by {label(f'test {metric}')}"
    over = f"users, seeds and {n_folds} folds" if n_folds > 1 else "users and seeds"
    single = ", ".join(compared.loc[compared["sd"].isna(), "run"])
    warning = f"One seed of {single}: differences between its seeds are not included; seeds=5 would include them."
    body = [
        tag("h1", title),
        facts(("Reference", names[0]), *head.items()),
        *lead,
        section(
            "Result",
            box(tag("ul", Html("").join(tag("li", line) for line in verdicts))),
            tag("p", warning, "warn") if single else Html(),
        ),
        section(
            name,
            grid([_forest(metric, compared), _dots(metric, compared, by_run, over)]),
            box(_table(compared, metric, over)),
        ),
        section("All test metrics", box(_means(means, metric, over))),
        section(
            "Settings",
            box(table(["setting", *names], settings) if settings else tag("p", "The settings do not differ.", "soft")),
            box(details("Run directories", table([], [(n, list(paths)) for n, paths in directories.items()]))),
        ),
        section("Method", box(tag("p", METHOD + (FOLDS if n_folds > 1 else "")))),
    ]
    return page(title, body)


def _forest(metric: str, compared: pd.DataFrame) -> Html:
    """Draw differences from the reference with intervals, the first run on top."""
    _, *others = compared.to_dict("records")
    sign = 1 if larger_is_better(metric) else -1
    traces = []
    for place, row in enumerate(reversed(others)):
        value, low, high = (row[key] for key in ("difference", "difference_low", "difference_high"))
        color = GRAY if not row["p"] < LEVEL else BLUE if sign * value > 0 else ORANGE
        tip = f"{plain(row['run'])}: {value:+.4f} ({low:+.4f} to {high:+.4f}), p = {row['p']:.2g}<extra></extra>"
        bars = {"array": [high - value], "arrayminus": [value - low], "color": color, "thickness": 2}
        marker = {"color": color, "size": 10}
        traces.append(go.Scatter(x=[value], y=[place], mode="markers", marker=marker, error_x=bars, hovertemplate=tip))
    reference = str(compared["run"].iloc[0])
    axes = {
        "xaxis": titled(f"difference in {label(metric)}", nticks=6),
        "yaxis": named([row["run"] for row in reversed(others)]),
        "shapes": [{"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "line": {"color": GRAY}}],
    }
    caption = (
        f"Mean difference from {reference} with 95% intervals. Blue: better; orange: worse; gray: not significant."
    )
    return chart(f"Difference from {reference}", traces, caption, height=110 + 40 * len(others), **axes)


def _dots(metric: str, compared: pd.DataFrame, by_run: Mapping[str, Sequence[tuple[str, float]]], over: str) -> Html:
    """Draw means with intervals, and the mean of every run."""
    rows = compared.iloc[::-1]
    places = list(range(len(rows)))
    seeds = [(place, *each) for place, name in enumerate(rows["run"]) for each in by_run[name]]
    traces = [
        go.Scatter(
            x=[value for _, _, value in seeds],
            y=[place for place, _, _ in seeds],
            customdata=[seed for _, seed, _ in seeds],
            mode="markers",
            marker={"color": GRAY, "size": 9, "symbol": "line-ns-open", "line": {"width": 1.5}},
            hovertemplate="%{customdata}: %{x:.4f}<extra></extra>",
        ),
        go.Scatter(
            x=rows["value"],
            y=places,
            mode="markers",
            marker={"color": BLUE, "size": 9},
            error_x={
                "array": rows["high"] - rows["value"],
                "arrayminus": rows["value"] - rows["low"],
                "color": BLUE,
                "thickness": 2,
            },
            hovertemplate="%{x:.4f}<extra></extra>",
        ),
    ]
    caption = (
        f"Means with 95% intervals over {over}; short lines: single runs. Runs share their users, so these "
        "intervals may overlap where the paired difference is clear."
    )
    axes = {"xaxis": titled(label(metric), nticks=6), "yaxis": named(rows["run"])}
    return chart(f"T{label(f'test {metric}')[1:]}", traces, caption, height=110 + 40 * len(rows), **axes)


def _table(compared: pd.DataFrame, metric: str, over: str) -> Html:
    rows = []
    for row in compared.to_dict("records"):
        sd = "unknown" if np.isnan(row["sd"]) else decimals(row["sd"])
        is_reference = np.isnan(row["difference"])
        difference = "reference" if is_reference else f"{row['difference']:+.4f}"
        ends = "" if is_reference else f"{row['difference_low']:+.4f} to {row['difference_high']:+.4f}"
        rows.append(
            [
                row["run"],
                Cell(row["seeds"]),
                Cell(decimals(row["value"]), note=f"{row['low']:.4f} to {row['high']:.4f}"),
                Cell(sd),
                Cell(difference, note=ends),
                *(Cell("" if is_reference else f"{row[key]:.2g}") for key in ("p", "p_wilcoxon")),
            ]
        )
    heads = ["run", "seeds", label(metric), "sd over seeds", "difference", "p", "p (Wilcoxon)"]
    note = f"In small type: 95% intervals over {over}."
    return table(heads, rows) + tag("p", note, "soft note")


def _means(means: pd.DataFrame, metric: str, over: str) -> Html:
    rows = {str(key): [Cell(decimals(value)) for value in values] for key, *values in means.itertuples()}
    note = tag("p", f"Means over {over}.", "soft note")
    return metrics_at(["metric", *map(str, means.columns)], rows, metric, note)
