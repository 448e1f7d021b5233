"""User activity: distribution of interactions per user, and the most active users."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.explore.actions import by
from jaxrec.explore.histogram import histogram

QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def user_activity(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return mean, quantiles and maximum of interactions per user by event type, among users with at least one."""
    rows = []
    for name, counts in zip(names, by(interactions.user, codes, names), strict=True):
        active = counts[counts > 0]
        quantiles = dict(zip(QUANTILES, np.quantile(active, list(QUANTILES.values())), strict=True))
        rows.append({"action": name, "users": len(active), "mean": active.mean(), **quantiles, "most": active.max()})
    return pd.DataFrame(rows)


def user_histogram(user: np.ndarray, action: str) -> pd.DataFrame:
    """Return histograms of interactions per user: all users, and those at or above the 90th percentile (`cut`).

    If the 90th percentile equals the minimum, the second group contains the users above it, and may be empty.
    """
    counts = np.bincount(user)
    counts = counts[counts > 0]
    cut = int(np.quantile(counts, 0.9, method="higher"))
    cut += cut == counts.min()
    groups = {"all users": counts, "top users": counts[counts >= cut]}
    parts = [histogram(values).assign(group=name, share=values.sum() / counts.sum()) for name, values in groups.items()]
    return pd.concat(parts, ignore_index=True).assign(action=action, cut=cut)


def top_users(interactions: Interactions, codes: np.ndarray, names: Sequence[str], top: int) -> pd.DataFrame:
    """Return the most active users and their interactions by event type."""
    counts = by(interactions.user, codes, names)
    total = counts.sum(axis=0)
    best = np.argsort(-total, kind="stable")[:top]
    best = best[total[best] > 0]
    columns = {"rank": np.arange(1, len(best) + 1), "user_id": interactions.user_ids[best], "interactions": total[best]}
    items = [len(np.unique(interactions.item[interactions.user == user])) for user in best]
    by_action = dict(zip(names, counts[:, best], strict=True)) if len(names) > 1 else {}
    return pd.DataFrame(columns | {"items": items}).join(pd.DataFrame(by_action, index=range(len(best))))
