"""Terminal tables and notes at the end of a run, a grid or a search."""

import math
from collections.abc import Mapping

import pandas as pd

from jaxrec.console import say, table
from jaxrec.data.data_warnings import data_warnings
from jaxrec.data.splits.split import Split
from jaxrec.experiment import Result
from jaxrec.metric_names import LABELS, ON_TEST, RANKED, SAMPLED, VALUES

SHOWN = (
    *("rmse", "mae", "auc", "log_loss"),
    *("ndcg@10", "recall@10", "hit_rate@10", "coverage@10"),
    *("sampled_ndcg@10", "sampled_hit_rate@10"),
)


def test_table(title: str, name: str, result: Result) -> None:
    """Print test metrics next to the popularity baseline (transposed on narrow terminals), then undefined metrics."""
    rows = pd.DataFrame(
        [{"": name, **_shown(result, "test")}, {"": "popularity", **_shown(result, "popularity")}], dtype=object
    )
    table(title, rows, narrow=rows.set_index("").T.reset_index(names=""))
    say_undefined([result])


def say_undefined(results: list[Result]) -> None:
    """Print which test metrics are undefined, and why."""
    undefined = {key: why for result in results for key, why in result.metrics["undefined"].items()}
    for key, why in undefined.items():
        say(f"note: test {key} is undefined: {why}")


def _shown(result: Result, part: str) -> dict[str, str]:
    metrics = result.metrics[part]
    keys = shown_keys(metrics)
    cells = {key: "undefined" if math.isnan(metrics[key]) else f"{metrics[key]:.4f}" for key in keys}
    if part == "test" and keys[0] in result.metrics["test_interval"]:
        low, high = result.metrics["test_interval"][keys[0]]
        cells[keys[0]] += f" ({low:.4f} to {high:.4f})"
    return cells


def shown_keys(metrics: Mapping[str, float]) -> list[str]:
    """Select the metrics that fit a terminal table: the common ones, and configured ones beyond the defaults."""
    usual = {*RANKED, *ON_TEST, "coverage", *VALUES, *LABELS}
    others = [key for key in metrics if key.removeprefix(SAMPLED).partition("@")[0] not in usual]
    keys = [key for key in SHOWN if key in metrics] + [key for key in others if key.endswith("@10")]
    return keys or list(metrics)[:4]


def say_data(split: Split) -> None:
    """Print the dataset sizes in one line, then warnings about the data."""
    train, test = split.selection.train, split.test.target
    validation = split.selection.validation
    n = 0 if validation is None else len(validation.target)
    say(
        f"{train.name}: {train.n_users:,} users, {train.n_items:,} items; "
        f"{len(train):,} interactions to train on, {n:,} to validate, {len(test):,} to test"
    )
    for line in data_warnings(split):
        say(line)
