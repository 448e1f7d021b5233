"""Suggested first experiments on a data set, derived from the tables of the report."""

from collections.abc import Mapping

import pandas as pd

SIMPLE = "model=popularity,item_knn,ease,ials"  # fast to train and strong baselines
MAX_SINGLE_SHARE = 0.9  # beyond this share of sessions with a single action, there is no next item to predict
MAX_ITEMS = 20_000  # beyond that, the item-item matrix of EASE is too large for most machines


def next_steps(tables: Mapping[str, pd.DataFrame], *, repeats: bool = True) -> list[tuple[str, list[str]]]:
    """Return pairs of a description and the overrides of a `train --multirun` command, most important first.

    Args:
        tables: tables of the report.
        repeats: whether the source has the setting `data.duplicates`.
    """
    facts = dict(zip(tables["summary"].fact, tables["summary"].value, strict=True))
    models = SIMPLE if facts["items"] <= MAX_ITEMS else SIMPLE.replace(",ease", "")
    timed = "over_time" in tables
    split = ["split=global_time"] if timed else []
    why = "train on the past and test on the future" if timed else "without times, hold out interactions at random"
    steps = [(f"Compare simple models first; {why}.", [models, *split])]
    steps.append(("Search the settings of matrix factorization.", ["sweep=mf", *split]))
    sessions = tables.get("sessions", pd.DataFrame({"fact": [], "value": []})).set_index("fact").value
    if sessions.get("share with a single action", 1.0) < MAX_SINGLE_SHARE:
        text = "Predict the next item at every step of a session."
        keep = ["data.duplicates=keep"] if repeats else []
        steps.append((text, ["split=sessions", "model=item_knn,gru4rec", *keep]))
    return steps
