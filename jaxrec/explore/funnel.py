"""Conversion funnel: view → cart → purchase, with conversion rates."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.explore.actions import keys

STAGES = {  # stage → pattern of event names
    "view": r"view|click|visit|detail|^pv$",
    "cart": r"^(?!.*remove).*(cart|basket)",
    "purchase": r"purchase|transaction|buy|bought|order|sale",
}


def funnel_stages(event_names: Sequence[str], funnel: Sequence[str] | None) -> list[str]:
    """Return the events of the funnel in order: `funnel` if set, else the first match of each stage."""
    if funnel is not None:
        if unknown := [name for name in funnel if name not in event_names]:
            events = (
                f"the events are {', '.join(event_names)}" if event_names else "the data has fewer than two event types"
            )
            raise InputError(f"explore.funnel has unknown events, {', '.join(unknown)}: {events}")
        return list(funnel)
    matches = ([name for name in event_names if re.search(pattern, name.lower())] for pattern in STAGES.values())
    return list(dict.fromkeys(names[0] for names in matches if names))


def funnel_counts(interactions: Interactions, stages: Sequence[str]) -> pd.DataFrame | None:
    """Count user-item pairs and users at each stage of the funnel; None without event types or stages.

    Columns:
        pairs, users: distinct ones with this event.
        pairs_through, users_through: those with this and all previous events, in any temporal order.
        pairs_rate, users_rate: ratio of `through` to that of the previous stage.
    """
    if interactions.event is None or len(stages) < 2:
        return None
    pair, pairs = pd.factorize(keys(interactions))
    through = {"pairs": np.ones(len(pairs), bool), "users": np.ones(interactions.n_users, bool)}
    rows: list[dict[str, str | int | float]] = []
    for stage in stages:
        mask = interactions.event == interactions.event_names.index(stage)
        row: dict[str, str | int | float] = {"action": stage, "interactions": int(mask.sum())}
        for of, ids in (("pairs", pair), ("users", interactions.user)):
            has = np.bincount(ids[mask], minlength=len(through[of])) > 0
            before = int(through[of].sum()) if rows else 0
            through[of] = through[of] & has
            passed = int(through[of].sum())
            row |= {of: int(has.sum()), f"{of}_through": passed, f"{of}_rate": passed / before if before else np.nan}
        rows.append(row)
    return pd.DataFrame(rows)
