"""How unequal items and users are: the Lorenz curve and its numbers.   [Lorenz 1905; Gini 1912]"""

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions


def concentration(interactions: Interactions) -> pd.DataFrame:
    """Which share of the interactions the most frequent 1, 10 and 20 % of items and of users have, and the Gini index.

    Gini = sum_i (2i - n - 1) x_i / (n sum_i x_i) of the counts x in rising order: 0 where all are equal, toward 1
    where one has everything. Only ids that occur count.
    """
    rows = []
    for of, column in (("items", interactions.item), ("users", interactions.user)):
        counts = np.bincount(column)
        rising = np.sort(counts[counts > 0])
        n, total = len(rising), rising.sum()
        shares = {f"top_{p}_percent": rising[n - -(-n * p // 100) :].sum() / total for p in (1, 10, 20)}
        gini = ((2 * np.arange(1, n + 1) - n - 1) * rising).sum() / (n * total)
        rows.append({"of": of, "ids": n, **shares, "gini": gini})
    return pd.DataFrame(rows)


def lorenz(interactions: Interactions) -> pd.DataFrame:
    """Share of the interactions that the most frequent share of ids has, in steps of 1 %."""
    parts = []
    for of, column in (("items", interactions.item), ("users", interactions.user)):
        counts = np.bincount(column)
        falling = -np.sort(-counts[counts > 0])
        running = np.concatenate([[0], np.cumsum(falling)])
        steps = np.unique(-(-len(falling) * np.arange(101) // 100))
        columns = {"share_of_ids": steps / len(falling), "share_of_interactions": running[steps] / running[-1]}
        parts.append(pd.DataFrame({"of": of, **columns}))
    return pd.concat(parts, ignore_index=True)
