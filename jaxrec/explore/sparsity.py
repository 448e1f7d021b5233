"""Sparsity of the user-item matrix: distinct pairs per user and item, and k-core sizes."""

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
