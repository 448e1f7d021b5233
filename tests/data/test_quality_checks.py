from dataclasses import replace

import numpy as np
import pandas as pd

from jaxrec.data.interactions import encode
from jaxrec.data.quality_checks import problems

START = 1_600_000_000_000


def data(user, item, notes=None, item_features=None, event_names=(), **columns):
    frame = pd.DataFrame({"user_id": user, "item_id": item, **columns})
    return encode(frame, notes=notes, item_features=item_features, event_names=event_names, name="made")


def found(interactions, part):
    """Return count and share of the finding whose text contains this; None if there is none."""
    table = problems(interactions)
    rows = table[table.problem.str.contains(part, regex=False)]
    return None if rows.empty else (int(rows["count"].iloc[0]), float(rows["share"].iloc[0]))


def test_clean_data_has_no_findings():
    table = problems(data([1, 1, 2, 2], [1, 2, 1, 2], time=START + np.arange(4), value=[1, 2, 3, 4]))
    assert table.empty
    assert list(table) == ["when", "problem", "count", "share", "meaning"]


def test_repairs_of_reading_come_first():
    table = problems(data([1, 1, 2], [1, 2, 1], notes={"rows without a customer, dropped": 7}))
    assert table.iloc[0].tolist()[:3] == ["while reading", "rows without a customer, dropped", 7]


def test_repeats_and_copies():
    made = data([1, 1, 1, 2], [5, 5, 5, 5], time=START + np.array([0, 0, 9, 0]))
    assert found(made, "repeat the user, item, event type and time of another") == (1, 0.25)
    assert found(made, "event type of an earlier") == (2, 0.5)
    kinds = data([1, 1], [5, 5], event=[0, 1], event_names=("view", "buy"))
    assert found(kinds, "of an earlier row") is None


def test_items_that_read_like_a_missing_id():
    assert found(data([1, 1, 2, 2], ["NULL", "a", "NULL", "b"]), "reads like a missing one") == (2, 0.5)
    assert found(data([1, 1, 2, 2], [-1, 5, 6, 7]), "reads like a missing one") == (1, 0.25)


def test_times_out_of_order_within_a_user():
    made = data([1, 2, 1, 2, 1], [1, 1, 2, 2, 3], time=START + np.array([9, 0, 5, 1, 7]))
    assert found(made, "older than the user's previous row") == (1, 0.2)
    assert found(data([1, 1], [1, 2], time=[0, START]), "before 1990") == (1, 0.5)


def test_single_interactions():
    made = data([1, 1, 2], [1, 2, 1])
    assert found(made, "users with a single") == (1, 0.5)
    assert found(made, "items with a single") == (1, 0.5)


def test_very_active_users():
    user = np.concatenate([np.zeros(1_001, int), np.repeat(np.arange(1, 31), 2)])
    made = data(user, np.arange(len(user)) % 400, time=START + 70_000 * np.arange(len(user)))
    assert found(made, "far above the median") == (1, 1 / 31)
    assert found(made, "of a single user") == (1_001, 1_001 / 1_061)
    assert found(made, "within one minute") is None
    fast = replace(made, time=START + np.arange(len(user)))
    assert found(fast, "within one minute") == (1, 1 / 31)


def test_values():
    values = [np.nan, -2, np.inf, 3]
    made = data([1, 1, 2, 2], [1, 2, 1, 2], value=values)
    assert found(made, "value is missing or not finite") == (2, 0.5)
    assert found(made, "negative value") == (1, 0.25)
    assert found(data([1, 1], [1, 2], weight=[2, 2]), "all have the weight 2") == (2, 1.0)
    outlier = data(np.arange(200) // 2, np.arange(200) % 50, value=[*[1, 2] * 99, 1, 80_000])
    assert found(outlier, "beyond 100 times") == (1, 1 / 200)


def test_times():
    time = START + 1_000 * np.arange(300)
    assert found(data(np.arange(300) % 9, np.arange(300) % 7, time=time), "with the same time") is None
    burst = np.where(np.arange(300) < 120, START + 1, time)
    assert found(data(np.arange(300) % 9, np.arange(300) % 7, time=burst), "with the same time") == (120, 0.4)
    days = np.arange(4) * 86_400_000 + 18_000 * 86_400_000
    assert found(data([1, 1, 2, 2], [1, 2, 1, 2], time=days), "whole day") == (4, 1.0)


def test_missing_features():
    features = pd.DataFrame({"item_id": [1, 2], "title": ["a", None], "price": [1.0, 2.0]})  # item 3 has no features
    made = data([1, 1, 2, 2, 3, 3], [1, 2, 3, 1, 2, 3], item_features=features)
    assert found(made, "items without any feature") == (1, 1 / 3)
    assert found(made, "items with other features but without title") == (1, 1 / 3)
    assert found(made, "without price") is None
