"""Item popularity: the most frequent items with their titles, and frequency by rank."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.explore.actions import by

TITLES = ("title", "name", "description", "product_name", "item_name", "product")  # features used as title
KINDS = ("product_type", "type", "product_category")  # non-unique fallbacks, shown after the id


def top_items(interactions: Interactions, codes: np.ndarray, names: Sequence[str], top: int) -> pd.DataFrame:
    """Return the most frequent items of each event type: interactions, their share, and distinct users."""
    counts, titles, parts = by(interactions.item, codes, names), item_titles(interactions), []
    for code, name in enumerate(names):
        best = np.argsort(-counts[code], kind="stable")[:top]
        best = best[counts[code][best] > 0]
        mask = np.isin(interactions.item, best) & (codes == code)
        pairs = pd.unique(interactions.item[mask].astype(np.int64) * interactions.n_users + interactions.user[mask])
        users = np.bincount(pairs // interactions.n_users, minlength=interactions.n_items)[best]
        columns = {"item_id": interactions.item_ids[best], "title": titles[best], "interactions": counts[code][best]}
        columns |= {"share": counts[code][best] / counts[code].sum(), "users": users}
        parts.append(pd.DataFrame({"action": name, "rank": np.arange(1, len(best) + 1), **columns}))
    return pd.concat(parts, ignore_index=True)


def item_titles(interactions: Interactions) -> np.ndarray:
    """Return a display name of each item, str [I]: title, name or description, else id and, if known, its kind."""
    ids = np.array([f"item {item}" for item in interactions.item_ids], object)
    if interactions.item_features is None:
        return ids
    columns = {str(column).lower(): column for column in interactions.item_features}
    column = next((columns[name] for name in (*TITLES, *KINDS) if name in columns), None)
    if column is None:
        return ids
    values = interactions.item_features[column]
    text = values.astype(str).str.strip().to_numpy(object)
    known = values.notna().to_numpy(bool) & (text != "")
    if str(column).lower() in KINDS:
        text = np.array([f"{item} {kind}" for item, kind in zip(interactions.item_ids, text, strict=True)], object)
    return np.where(known, text, ids)


def item_ranks(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return interactions by popularity rank, at up to 150 logarithmically spaced ranks."""
    parts = []
    for name, counts in zip(names, by(interactions.item, codes, names), strict=True):
        descending = -np.sort(-counts[counts > 0])
        ranks = np.unique(np.rint(np.geomspace(1, len(descending), 150)).astype(np.int64))
        parts.append(pd.DataFrame({"action": name, "rank": ranks, "interactions": descending[ranks - 1]}))
    return pd.concat(parts, ignore_index=True)
