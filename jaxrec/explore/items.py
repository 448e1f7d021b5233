"""Which items are frequent, what they are called, and how frequency falls with rank."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.explore.actions import by

TITLES = ("title", "name", "description", "product_name", "item_name", "product")  # of a feature to call an item by
KINDS = ("product_type", "type", "product_category")  # what it is, where nothing names it; many share one


def top_items(interactions: Interactions, codes: np.ndarray, names: Sequence[str], top: int) -> pd.DataFrame:
    """The most frequent items of each kind of action: rows, their share of the action's, and distinct users."""
    counts, titles, parts = by(interactions.item, codes, names), item_titles(interactions), []
    for code, name in enumerate(names):
        best = np.argsort(-counts[code], kind="stable")[:top]
        best = best[counts[code][best] > 0]
        mine = np.isin(interactions.item, best) & (codes == code)
        pairs = pd.unique(interactions.item[mine].astype(np.int64) * interactions.n_users + interactions.user[mine])
        users = np.bincount(pairs // interactions.n_users, minlength=interactions.n_items)[best]
        columns = {"item_id": interactions.item_ids[best], "title": titles[best], "interactions": counts[code][best]}
        columns |= {"share": counts[code][best] / counts[code].sum(), "users": users}
        parts.append(pd.DataFrame({"action": name, "rank": np.arange(1, len(best) + 1), **columns}))
    return pd.concat(parts, ignore_index=True)


def item_titles(interactions: Interactions) -> np.ndarray:
    """What each item is called, str [I]: its title, name or description; else its id and, where known, its kind."""
    ids = np.array([f"item {item}" for item in interactions.item_ids], object)
    if interactions.item_features is None:
        return ids
    named = {str(column).lower(): column for column in interactions.item_features}
    column = next((named[name] for name in (*TITLES, *KINDS) if name in named), None)
    if column is None:
        return ids
    given = interactions.item_features[column]
    text = given.astype(str).str.strip().to_numpy(object)
    known = given.notna().to_numpy(bool) & (text != "")
    if str(column).lower() in KINDS:
        text = np.array([f"{item} {kind}" for item, kind in zip(interactions.item_ids, text, strict=True)], object)
    return np.where(known, text, ids)


def item_ranks(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """How often the item of each rank occurs, for some 150 ranks at even distances on a log axis."""
    parts = []
    for name, counts in zip(names, by(interactions.item, codes, names), strict=True):
        falling = -np.sort(-counts[counts > 0])
        ranks = np.unique(np.rint(np.geomspace(1, len(falling), 150)).astype(np.int64))
        parts.append(pd.DataFrame({"action": name, "rank": ranks, "interactions": falling[ranks - 1]}))
    return pd.concat(parts, ignore_index=True)
