"""Counts by event type ("action"), such as view and purchase; "interaction" if the data has no event types."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions, summary
from jaxrec.data.reading.times import DAY

MAX_ACTIONS = 6  # number of event types shown; the rarest ones are merged
OTHERS = "others"
ONE_KIND = "interaction"


def actions(interactions: Interactions) -> tuple[np.ndarray, list[str]]:
    """Return codes [N] and names of the event types that occur, most frequent first."""
    if interactions.event is None:
        return np.zeros(len(interactions), np.int64), [ONE_KIND]
    counts = np.bincount(interactions.event, minlength=len(interactions.event_names))
    order = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    place = np.zeros(len(counts), np.int64)
    place[order] = np.arange(len(order))
    names = [interactions.event_names[code] for code in order]
    if len(order) > MAX_ACTIONS:
        place, names = np.minimum(place, MAX_ACTIONS - 1), [*names[: MAX_ACTIONS - 1], OTHERS]
    return place[interactions.event], names


def sizes(interactions: Interactions) -> pd.DataFrame:
    """Return the summary: numbers of users, items, interactions and distinct pairs, density, and time span."""
    info = summary(interactions)
    users, items = (np.count_nonzero(np.bincount(ids)) for ids in (interactions.user, interactions.item))
    pairs = len(distinct_pairs(interactions))
    facts: dict[str, object] = {"interactions": len(interactions), "users": users, "items": items}
    facts |= {"distinct pairs": pairs, "density": pairs / (users * items)}
    facts |= {"interactions per user": len(interactions) / users, "interactions per item": len(interactions) / items}
    if interactions.time is not None:
        days = (int(interactions.time.max()) - int(interactions.time.min())) / DAY
        facts |= {"first": info["first"].replace("T", " "), "last": info["last"].replace("T", " "), "days": days}
    return pd.DataFrame({"fact": list(facts), "value": pd.Series(list(facts.values()), dtype=object)})


def action_counts(interactions: Interactions, codes: np.ndarray, names: Sequence[str]) -> pd.DataFrame:
    """Return interactions, distinct users and distinct items of each event type."""
    per_user, per_item = by(interactions.user, codes, names), by(interactions.item, codes, names)
    rows = np.bincount(codes, minlength=len(names))
    columns = {"users": (per_user > 0).sum(axis=1), "items": (per_item > 0).sum(axis=1)}
    return pd.DataFrame({"action": names, "interactions": rows, "share": rows / rows.sum(), **columns})


def by(ids: np.ndarray, codes: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Count interactions by event type and id, int64 [actions, ids]."""
    n = int(ids.max()) + 1
    return np.bincount(codes * n + ids, minlength=len(names) * n).reshape(len(names), n)


def keys(interactions: Interactions) -> np.ndarray:
    """Return one key per user-item pair, int64 [N]."""
    return interactions.user.astype(np.int64) * interactions.n_items + interactions.item


def distinct_pairs(interactions: Interactions) -> np.ndarray:
    """Return the sorted distinct `keys` of the interactions."""
    # Sorting instead of np.unique, whose hash table takes minutes for such keys.
    ordered = np.sort(keys(interactions))
    return ordered[np.diff(ordered, prepend=-1) > 0]
