"""Kinds of action: views, purchases, or plain interactions where the data knows one kind only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions, summary
from jaxrec.data.reading.times import DAY

MOST_ACTIONS = 6  # kinds of action told apart; beyond these the rarest are one
OTHERS = "others"
ONE_KIND = "interaction"


def actions(interactions: Interactions) -> tuple[np.ndarray, list[str]]:
    """Codes [N] and names of the kinds of action that occur, most frequent first."""
    if interactions.event is None:
        return np.zeros(len(interactions), np.int64), [ONE_KIND]
    counts = np.bincount(interactions.event, minlength=len(interactions.event_names))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    place = np.zeros(len(counts), np.int64)
    place[order] = np.arange(len(order))
    names = [interactions.event_names[code] for code in order]
    if len(order) > MOST_ACTIONS:
        place, names = np.minimum(place, MOST_ACTIONS - 1), [*names[: MOST_ACTIONS - 1], OTHERS]
    return place[interactions.event], names


def sizes(interactions: Interactions) -> pd.DataFrame:
    """What there is: ids that occur, rows, distinct pairs, density, and the time from first to last."""
    found = summary(interactions)
    users, items = (np.count_nonzero(np.bincount(ids)) for ids in (interactions.user, interactions.item))
    pairs = len(distinct_pairs(interactions))
    facts: dict[str, Any] = {"interactions": len(interactions), "users": users, "items": items, "distinct pairs": pairs}
    facts |= {"density": pairs / (users * items)}
    facts |= {"interactions per user": len(interactions) / users, "interactions per item": len(interactions) / items}
    if interactions.time is not None:
        days = (int(interactions.time.max()) - int(interactions.time.min())) / DAY
        facts |= {"first": found["first"].replace("T", " "), "last": found["last"].replace("T", " "), "days": days}
    return pd.DataFrame({"fact": list(facts), "value": pd.Series(list(facts.values()), dtype=object)})


def action_counts(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Rows, distinct users and distinct items of each kind of action."""
    per_user, per_item = by(interactions.user, codes, names), by(interactions.item, codes, names)
    rows = np.bincount(codes, minlength=len(names))
    columns = {"users": (per_user > 0).sum(axis=1), "items": (per_item > 0).sum(axis=1)}
    return pd.DataFrame({"action": names, "interactions": rows, "share": rows / rows.sum(), **columns})


def by(ids: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Rows of each action and id, int64 [actions, ids]."""
    n = int(ids.max()) + 1
    return np.bincount(codes * n + ids, minlength=len(names) * n).reshape(len(names), n)


def keys(interactions: Interactions) -> np.ndarray:
    """One number for each pair of user and item, int64 [N]."""
    return interactions.user.astype(np.int64) * interactions.n_items + interactions.item


def distinct_pairs(interactions: Interactions) -> np.ndarray:
    """Each pair of user and item that occurs, as by `keys`."""
    # A sort and a mask: np.unique hashes integers, and takes minutes for keys such as these.
    ordered = np.sort(keys(interactions))
    return ordered[np.diff(ordered, prepend=-1) > 0]
