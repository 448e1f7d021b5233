"""The way to a sale: view → cart → purchase, and how many go on at each step."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.explore.actions import keys

STAGES = {  # of a sale → what the names of its events look like
    "view": r"view|click|visit|detail|^pv$",
    "cart": r"^(?!.*remove).*(cart|basket)",
    "purchase": r"purchase|transaction|buy|bought|order|sale",
}


def funnel_stages(event_names: Sequence[str], funnel: Sequence[str] | None) -> list[str]:
    """The events of a sale in their order: those named, or the first that looks like each stage."""
    if funnel is not None:
        if unknown := [name for name in funnel if name not in event_names]:
            there = f"the data has {', '.join(event_names)}" if event_names else "the data has one kind of action only"
            raise InputError(f"explore.funnel names {', '.join(unknown)}: {there}")
        return list(funnel)
    fits = ([name for name in event_names if re.search(words, name.lower())] for words in STAGES.values())
    return list(dict.fromkeys(names[0] for names in fits if names))


def funnel_counts(interactions: Interactions, stages: Sequence[str]) -> pd.DataFrame | None:
    """Pairs of user and item, and users, at each stage of a sale.

    pairs, users:                 distinct, with this action
    pairs_through, users_through: with this action and all of those before it, in whatever order of time
    pairs_rate, users_rate:       those that went through, of those that went through the stage before
    """
    if interactions.event is None or len(stages) < 2:
        return None
    pair, pairs = pd.factorize(keys(interactions))
    through = {"pairs": np.ones(len(pairs), bool), "users": np.ones(interactions.n_users, bool)}
    rows: list[dict[str, str | int | float]] = []
    for stage in stages:
        mine = interactions.event == interactions.event_names.index(stage)
        row: dict[str, str | int | float] = {"action": stage, "interactions": int(mine.sum())}
        for of, ids in (("pairs", pair), ("users", interactions.user)):
            has = np.bincount(ids[mine], minlength=len(through[of])) > 0
            before = int(through[of].sum()) if rows else 0
            through[of] = through[of] & has
            passed = int(through[of].sum())
            row |= {of: int(has.sum()), f"{of}_through": passed, f"{of}_rate": passed / before if before else np.nan}
        rows.append(row)
    return pd.DataFrame(rows)
