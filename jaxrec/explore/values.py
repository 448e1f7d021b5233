"""Distributions of values, weights and features, and rank correlations."""

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.explore.actions import actions
from jaxrec.explore.histogram import histogram
from jaxrec.explore.times import calendar

SAMPLE = 200_000  # maximum number of rows for correlations


def spread(values: np.ndarray | None) -> pd.DataFrame | None:
    """Return a histogram of values.

    One bin per value if there are at most 30, `histogram` bins for counts, else 40 equal bins of the central 99% and
    one bin at either end. None without finite values.
    """
    finite = values[np.isfinite(values)] if values is not None else np.empty(0)
    if not len(finite):
        return None
    distinct, counts = np.unique(finite, return_counts=True)
    if len(distinct) <= 30:
        return pd.DataFrame({"low": distinct, "high": distinct, "count": counts})
    if distinct[0] >= 0 and (distinct == np.rint(distinct)).all():
        zeros = pd.DataFrame({"low": [0], "high": [0], "count": [int((finite == 0).sum())]})
        counted = histogram(finite[finite > 0].astype(np.int64))
        counted = counted[counted["count"].cumsum() > 0].reset_index(drop=True)
        counted.loc[0, "low"] = int(distinct[distinct > 0][0])
        return pd.concat([zeros, counted], ignore_index=True) if distinct[0] == 0 else counted
    low, high = np.quantile(finite, [0.005, 0.995])
    edges = np.unique(np.concatenate([[distinct[0]], np.linspace(low, high, 41), [distinct[-1]]]))
    counts, edges = np.histogram(finite, edges)
    return pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})


def correlations(interactions: Interactions) -> pd.DataFrame | None:
    """Return Spearman's rank correlations of numerical columns over interactions (at most 200,000 sampled ones).

    Columns: value, weight, target, hour, weekday, day, event types (1 or 0), activity of the user, frequency of the
    item, and numerical features. Constant columns are left out; None if fewer than two remain.
    """
    n = len(interactions)
    sampled = np.sort(np.random.default_rng(0).choice(n, SAMPLE, replace=False)) if n > SAMPLE else np.arange(n)
    rows, (codes, names) = interactions.take(sampled), actions(interactions)
    columns: dict[str, np.ndarray | None] = {"value": rows.value, "weight": rows.weight, "target": rows.target}
    columns |= {f"is {name}": codes[sampled] == code for code, name in enumerate(names)}
    columns |= calendar(rows.time)
    columns |= {"user activity": np.bincount(interactions.user)[rows.user]}
    columns |= {"item frequency": np.bincount(interactions.item)[rows.item]}
    for of, table, ids in (("user", rows.user_features, rows.user), ("item", rows.item_features, rows.item)):
        if table is None:
            continue
        numeric = table.select_dtypes(["number", "bool", "boolean"])
        columns |= {f"{of} {name}": numeric[name].to_numpy(np.float64, na_value=np.nan)[ids] for name in numeric}
    frame = pd.DataFrame({name: column.astype(np.float64) for name, column in columns.items() if column is not None})
    frame = frame.loc[:, frame.nunique() > 1].iloc[:, :20]
    if frame.shape[1] < 2:
        return None
    return frame.rank().corr().rename_axis("column").reset_index()


def features(interactions: Interactions) -> pd.DataFrame | None:
    """Return, for each user and item feature, the share of ids with a value, distinct values and the most frequent."""
    rows = []
    for of, table in (("user", interactions.user_features), ("item", interactions.item_features)):
        for name, column in {} if table is None else table.items():
            known = column.dropna()
            counts = known.explode().astype(str).value_counts()
            common = {"most_frequent": counts.index[0], "its_share": counts.iloc[0] / len(known)} if len(counts) else {}
            filled = len(known) / len(column) if len(column) else np.nan
            rows.append({"of": of, "feature": name, "filled": filled, "different": len(counts), **common})
    return pd.DataFrame(rows) if rows else None
