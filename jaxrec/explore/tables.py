"""Tables of the data report, computed from interactions."""

import numpy as np
import pandas as pd
from pydantic import PositiveFloat, PositiveInt

from jaxrec.data.interactions import Interactions
from jaxrec.data.quality_checks import problems
from jaxrec.data.splits.assembly import with_item_properties
from jaxrec.errors import InputError
from jaxrec.explore.actions import ONE_KIND, action_counts, actions, sizes
from jaxrec.explore.funnel import funnel_counts, funnel_stages
from jaxrec.explore.items import item_ranks, top_items
from jaxrec.explore.sparsity import concentration, k_cores, lorenz, pair_histogram
from jaxrec.explore.times import hours, over_time, session_sizes, session_summary
from jaxrec.explore.users import top_users, user_activity, user_histogram
from jaxrec.explore.values import correlations, features, spread


def tables(
    interactions: Interactions,
    session_gap: PositiveFloat = 30,
    top: PositiveInt = 20,
    funnel: tuple[str, ...] | None = None,
) -> dict[str, pd.DataFrame]:
    """Compute all tables for which the data suffices, by name; item properties are as of the last interaction.

    Args:
        interactions: the data.
        session_gap: minutes of inactivity that end a session.
        top: number of most frequent items and most active users to list.
        funnel: events of the conversion funnel, in order; None: guess by name.

    Raises:
        InputError: the data has no interactions, or `funnel` has an unknown event.
    """
    if not len(interactions):
        raise InputError(f"{interactions.name} has no interactions to explore: check the data settings")
    interactions = with_item_properties(interactions, np.arange(len(interactions)))
    codes, names = actions(interactions)
    stages = funnel_stages(interactions.event_names, funnel)
    views = next((name for name in stages[:1] if name in names), None)
    viewers = interactions.user if views is None else interactions.user[codes == names.index(views)]
    results = {
        "summary": sizes(interactions),
        "actions": action_counts(interactions, codes, names),
        "top_items": top_items(interactions, codes, names, top),
        "item_ranks": item_ranks(interactions, codes, names),
        "concentration": concentration(interactions),
        "lorenz": lorenz(interactions),
        "user_activity": user_activity(interactions, codes, names),
        "user_histogram": user_histogram(viewers, views or ONE_KIND),
        "top_users": top_users(interactions, codes, names, top),
        "over_time": over_time(interactions.time, codes, names),
        "hours": hours(interactions.time, codes, names),
        "funnel": funnel_counts(interactions, stages),
        "sessions": session_summary(interactions, codes, names, session_gap),
        "session_sizes": session_sizes(interactions, session_gap),
        "values": spread(interactions.value),
        "weights": spread(interactions.weight),
        "correlations": correlations(interactions),
        "pair_histogram": pair_histogram(interactions),
        "k_cores": k_cores(interactions),
        "features": features(interactions),
        "problems": problems(interactions),
    }
    return {name: table for name, table in results.items() if table is not None and (len(table) or name == "problems")}
