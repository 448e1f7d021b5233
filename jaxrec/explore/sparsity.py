"""How full the matrix of users and items is, and what filters would leave of it."""

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions, filtered
from jaxrec.errors import InputError
from jaxrec.explore.actions import distinct_pairs
from jaxrec.explore.histogram import histogram

K_CORES = (1, 2, 3, 5, 10, 20, 50)


def pair_histogram(interactions: Interactions) -> pd.DataFrame:
    """Users by how many different items they have, and items by how many different users."""
    user, item = np.divmod(distinct_pairs(interactions), interactions.n_items)
    parts = []
    for of, ids in (("users", user), ("items", item)):
        counts = np.bincount(ids)
        parts.append(histogram(counts[counts > 0]).assign(of=of))
    return pd.concat(parts, ignore_index=True)


def k_cores(interactions: Interactions) -> pd.DataFrame:
    """What is left when every user and every item must have k rows, as `data.k_core` would leave it."""
    rows = pd.DataFrame({"user_id": interactions.user, "item_id": interactions.item})
    found, n_items = [], interactions.n_items
    for k in K_CORES:
        try:  # a core holds those of all larger k
            rows, _ = filtered(rows, duplicates="keep", k_core=k)
        except InputError:  # nothing left
            rows = rows.head(0)
        users, items = rows["user_id"].nunique(), rows["item_id"].nunique()
        pairs = len(rows) - int((rows["user_id"].astype(np.int64) * n_items + rows["item_id"]).duplicated().sum())
        density = pairs / (users * items) if pairs else np.nan
        found.append({"k": k, "users": users, "items": items, "interactions": len(rows), "density": density})
        if not len(rows):
            break
    return pd.DataFrame(found)
