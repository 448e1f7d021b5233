"""How much users do, and who does most."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.explore.actions import by
from jaxrec.explore.histogram import histogram

QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def user_activity(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """How many of each action a user does who does it at all: mean, quantiles and the most."""
    rows = []
    for name, counts in zip(names, by(interactions.user, codes, names), strict=True):
        done = counts[counts > 0]
        quantiles = dict(zip(QUANTILES, np.quantile(done, list(QUANTILES.values())), strict=True))
        rows.append({"action": name, "users": len(done), "mean": done.mean(), **quantiles, "most": done.max()})
    return pd.DataFrame(rows)


def user_histogram(user: np.ndarray, action: str) -> pd.DataFrame:
    """Users by how many rows they have: all of them, and those at or above the 90th percentile (`cut`).

    Where the 90th percentile is what the least active have, the others make the second group, which may be empty.
    """
    counts = np.bincount(user)
    counts = counts[counts > 0]
    cut = int(np.quantile(counts, 0.9, method="higher"))
    cut += cut == counts.min()
    groups = {"all users": counts, "top users": counts[counts >= cut]}
    parts = [histogram(values).assign(group=name, share=values.sum() / counts.sum()) for name, values in groups.items()]
    return pd.concat(parts, ignore_index=True).assign(action=action, cut=cut)


def top_users(interactions: Interactions, codes: np.ndarray, names: Sequence[str], top: int) -> pd.DataFrame:
    """The most active users, and how much of each action they did."""
    counts = by(interactions.user, codes, names)
    total = counts.sum(axis=0)
    best = np.argsort(-total, kind="stable")[:top]
    best = best[total[best] > 0]
    columns = {"rank": np.arange(1, len(best) + 1), "user_id": interactions.user_ids[best], "interactions": total[best]}
    items = [len(np.unique(interactions.item[interactions.user == user])) for user in best]
    by_action = dict(zip(names, counts[:, best], strict=True)) if len(names) > 1 else {}
    return pd.DataFrame(columns | {"items": items}).join(pd.DataFrame(by_action, index=range(len(best))))
