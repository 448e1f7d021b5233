"""Concentration of interactions on items and users: Lorenz curve and Gini index.   [Lorenz 1905; Gini 1912]"""

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions


def concentration(interactions: Interactions) -> pd.DataFrame:
    """Return the share of interactions of the most frequent 1, 10 and 20 % of items and users, and the Gini index.

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
    """Return the share of interactions by share of the most frequent ids, in steps of 1 %."""
    parts = []
    for of, column in (("items", interactions.item), ("users", interactions.user)):
        counts = np.bincount(column)
        descending = -np.sort(-counts[counts > 0])
        cumulative = np.concatenate([[0], np.cumsum(descending)])
        steps = np.unique(-(-len(descending) * np.arange(101) // 100))
        columns = {"share_of_ids": steps / len(descending), "share_of_interactions": cumulative[steps] / cumulative[-1]}
        parts.append(pd.DataFrame({"of": of, **columns}))
    return pd.concat(parts, ignore_index=True)
