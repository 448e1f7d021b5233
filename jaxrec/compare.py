"""Comparison of finished runs: paired differences of a test metric over users, with intervals and p-values."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from jaxrec.checkpoint import read_json
from jaxrec.errors import InputError
from jaxrec.metric_names import larger_is_better
from jaxrec.metrics import paired_summary
from jaxrec.rundir import finished_run, read_config
from jaxrec.settings import Tree, flat, get


@dataclass(frozen=True, eq=False)
class _Run:
    name: str
    config: Tree
    per_user: pd.DataFrame


def compare(runs: Sequence[str], metric: str | None = None) -> tuple[str, pd.DataFrame]:
    """Compares runs on the users of one test split; the first run is the reference.

    Args:
        runs: run directories, or sweep directories, whose `best` is taken.
        metric: a test metric; None: what the first run monitored.

    Returns:
        The metric, and one row a run: run, value, low, high (95 % bootstrap interval), and for all but the first
        difference, difference_low, difference_high (paired by user) and p, of the Wilcoxon signed-rank test with
        Holm's correction for the number of comparisons.  [Holm 1979; Sakai 2016]

    Raises:
        InputError: fewer than two runs; runs of different data, splits or evaluations; an unknown metric.
    """
    if len(runs) < 2:
        raise InputError("compare needs two runs or more: jaxrec compare RUN_DIR RUN_DIR")
    loaded = [_load(Path(run)) for run in runs]
    first = loaded[0]
    metric = metric or str(get(first.config, "eval.monitor"))
    if metric not in first.per_user:
        names = ", ".join(str(column) for column in first.per_user if column not in ("user_id", "item_id", "known"))
        raise InputError(f"metric={metric} is not in {first.name}/per_user.parquet; choose one of {names}")
    for run in loaded[1:]:
        _check_same(first, run, metric)
    units = pd.factorize(first.per_user["user_id"])[0]
    rows, p_values = [], []
    for run in loaded:
        values = run.per_user[metric].to_numpy(np.float64)
        reference = None if run is first else first.per_user[metric].to_numpy(np.float64)
        if reference is not None:
            p_values.append(_p_value(values - reference, units))
        rows.append({"run": run.name, **paired_summary(values, reference, units)})
    table = pd.DataFrame(rows)
    table["p"] = [np.nan, *holm(p_values)]
    return metric, table


def verdicts(metric: str, table: pd.DataFrame) -> list[str]:
    """One sentence for each run beside the reference; one is better only where p < .05."""
    reference, *others = table.to_dict("records")
    lines = []
    for row in others:
        p, names = f"(p = {row['p']:.2g})", [row["run"], reference["run"]]
        if row["p"] < 0.05:
            better, worse = names if (row["difference"] > 0) == larger_is_better(metric) else reversed(names)
            lines.append(f"{better} beats {worse} on {metric} {p}")
        else:
            lines.append(f"no difference between {names[0]} and {names[1]} on {metric} is shown {p}")
    return lines


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values with Holm's correction, in their order."""
    order, n = np.argsort(p_values), len(p_values)
    scaled = np.maximum.accumulate([min(1.0, p_values[i] * (n - rank)) for rank, i in enumerate(order)])
    adjusted = np.empty(n)
    adjusted[order] = scaled
    return adjusted.tolist()


def _p_value(differences: np.ndarray, units: np.ndarray) -> float:
    """Wilcoxon signed-rank test of the mean difference of each user; 1 where all are zero."""
    defined = ~np.isnan(differences)
    per_user = pd.Series(differences[defined]).groupby(units[defined]).mean().to_numpy()
    return float(stats.wilcoxon(per_user).pvalue) if np.any(per_user) else 1.0


def _load(directory: Path) -> _Run:
    directory = finished_run(directory)
    read_json(directory / "metrics.json")  # written last: without it the run is not finished
    order = ["user_id", "item_id"]
    per_user = pd.read_parquet(directory / "per_user.parquet")
    per_user = per_user.sort_values([name for name in order if name in per_user], kind="stable", ignore_index=True)
    return _Run(str(directory), read_config(directory), per_user)


def _check_same(first: _Run, run: _Run, metric: str) -> None:
    """Raises an InputError for runs whose test metrics are not about the same users and items."""
    for group in ("data", "split"):
        one, other = (flat({group: each.config[group]}) for each in (first, run))
        if changed := sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key)):
            key = changed[0]
            raise InputError(
                f"{first.name} has {key}={one.get(key)}, {run.name} has {key}={other.get(key)}: runs can be compared "
                "only on the same data and split"
            )
    ids = [name for name in ("user_id", "item_id") if name in first.per_user]
    if metric not in run.per_user or not run.per_user[ids].equals(first.per_user[ids]):
        raise InputError(f"{run.name} does not have {metric} of the users of {first.name}: evaluate both alike")
