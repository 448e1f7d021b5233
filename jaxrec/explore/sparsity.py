"""Sparsity of the user-item matrix: distinct pairs per user and item, k-core sizes, and concentration on few ids."""

import numpy as np
import pandas as pd

from jaxrec.data.filters import filtered
from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.explore.actions import distinct_pairs
from jaxrec.explore.histogram import histogram

K_CORES = (1, 2, 3, 5, 10, 20, 50)


def pair_histogram(interactions: Interactions) -> pd.DataFrame:
    """Return histograms of distinct items per user and distinct users per item."""
    user, item = np.divmod(distinct_pairs(interactions), interactions.n_items)
    parts = []
    for of, ids in (("users", user), ("items", item)):
        counts = np.bincount(ids)
        parts.append(histogram(counts[counts > 0]).assign(of=of))
    return pd.concat(parts, ignore_index=True)


def k_cores(interactions: Interactions) -> pd.DataFrame:
    """Return the sizes of the k-cores, in which every user and item has at least k rows, as with `data.k_core`."""
    rows = pd.DataFrame({"user_id": interactions.user, "item_id": interactions.item})
    sizes, n_items = [], interactions.n_items
    for k in K_CORES:
        try:  # each core contains those of larger k
            rows, _ = filtered(rows, duplicates="keep", k_core=k)
        except InputError:  # the core is empty
            rows = rows.head(0)
        users, items = rows["user_id"].nunique(), rows["item_id"].nunique()
        pairs = len(rows) - int((rows["user_id"].astype(np.int64) * n_items + rows["item_id"]).duplicated().sum())
        density = pairs / (users * items) if pairs else np.nan
        sizes.append({"k": k, "users": users, "items": items, "interactions": len(rows), "density": density})
        if not len(rows):
            break
    return pd.DataFrame(sizes)


def concentration(interactions: Interactions) -> pd.DataFrame:
    """Return the share of interactions of the most frequent 1, 10 and 20% of items and users, and the Gini index.

    Gini = sum_i (2i - n - 1) x_i / (n sum_i x_i) of the ascending counts x: 0 if all are equal, close to 1 if one id
    has all interactions. Ids without interactions are excluded.
    """
    rows = []
    for of, column in (("items", interactions.item), ("users", interactions.user)):
        counts = np.bincount(column)
        ascending = np.sort(counts[counts > 0])
        n, total = len(ascending), ascending.sum()
        shares = {f"top_{p}_percent": ascending[n - -(-n * p // 100) :].sum() / total for p in (1, 10, 20)}
        gini = ((2 * np.arange(1, n + 1) - n - 1) * ascending).sum() / (n * total)
        rows.append({"of": of, "ids": n, **shares, "gini": gini})
    return pd.DataFrame(rows)


def lorenz(interactions: Interactions) -> pd.DataFrame:
    """Return the share of interactions by share of the most frequent ids, in steps of 1%."""
    parts = []
    for of, column in (("items", interactions.item), ("users", interactions.user)):
        counts = np.bincount(column)
        descending = -np.sort(-counts[counts > 0])
        cumulative = np.concatenate([[0], np.cumsum(descending)])
        steps = np.unique(-(-len(descending) * np.arange(101) // 100))
        columns = {"share_of_ids": steps / len(descending), "share_of_interactions": cumulative[steps] / cumulative[-1]}
        parts.append(pd.DataFrame({"of": of, **columns}))
    return pd.concat(parts, ignore_index=True)
