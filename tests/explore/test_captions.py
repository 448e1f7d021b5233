"""Captions of the page, on small tables."""

import numpy as np
import pandas as pd
import pytest

from jaxrec.explore import captions
from jaxrec.explore.values import spread


@pytest.mark.parametrize(
    ("median", "message"),
    [
        (None, "No session has more than one interaction"),
        (0.0, "Half of the sessions with more than one interaction have all of them at the same time"),
        (0.5, "Half of the sessions with more than one interaction last at most 30 seconds"),
        (2.54, "Half of the sessions with more than one interaction last at most 2.5 minutes"),
    ],
)
def test_durations(median, message):
    facts = {"minutes of pause that end one": 30.0}
    facts |= {} if median is None else {"median minutes, of those with more than one": median}
    table = pd.DataFrame({"fact": list(facts), "value": list(facts.values())})
    assert captions.of_durations(table) == f"{message}. A gap of more than 30 minutes ends a session."


@pytest.mark.parametrize(("mean", "text"), [(1.001, "1 interaction"), (2.5, "2.5 interactions")])
def test_sessions(mean, text):
    facts = {"sessions": 40, "sessions per user": 4, "mean actions": mean, "share with a single action": 0.5}
    table = pd.DataFrame({"fact": list(facts), "value": list(facts.values())})
    assert captions.of_sessions(table) == (
        f"40 sessions, 4 per user, with {text} on average; 50% have a single interaction."
    )


@pytest.mark.parametrize(
    ("single", "message"),
    [
        (0, "Each of the 40 users with “view” interactions has at least two."),
        (1, "1 (2.5%) of the 40 users with “view” interactions has just one."),
    ],
)
def test_users_with_a_single_row(single, message):
    rows = {"low": [1, 2], "high": [1, 9], "count": [single, 40 - single], "group": "all users", "action": "view"}
    assert captions.of_all_users(pd.DataFrame(rows)) == message


@pytest.mark.parametrize(
    ("period", "message"),
    [
        ("day", "The busiest day (UTC) is 2015-06-08, with 7 interactions; the median of 2 days is 5."),
        ("week", "The busiest week (UTC) starts on 2015-06-08, with 7 interactions; the median of 2 weeks is 5."),
    ],
)
def test_the_busiest_period(period, message):
    rows = {"period": period, "start": ["2015-06-01", "2015-06-08", "2015-06-08"], "interactions": [3, 4, 3]}
    assert captions.of_time(pd.DataFrame(rows)) == message


def test_the_core_has_a_minimum_per_user_and_item():
    kept = pd.DataFrame({"k": [1, 5, 10], "users": [4, 3, 1], "items": [5, 4, 1], "interactions": [20, 19, 10]})
    assert captions.of_cores(kept) == (
        "The 5-core (data.k_core=5), in which every user and item has at least 5 interactions, keeps 75% of the users, "
        "80% of the items and 95% of the interactions."
    )


def test_correlations_between_event_types_of_one_row_are_not_mentioned():
    names = ["is view", "is buy", "hour"]
    values = np.array([[1, -0.9, 0.1], [-0.9, 1, -0.3], [0.1, -0.3, 1]])
    table = pd.DataFrame(values, columns=names).assign(column=names)
    assert captions.of_correlations(table).endswith(
        "The strongest (except between event types) is -0.30, between “is buy” and “hour”."
    )


def test_with_one_event_type_the_strongest_correlation_is_mentioned():
    table = pd.DataFrame([[1, -0.9], [-0.9, 1]], columns=["value", "hour"]).assign(column=["value", "hour"])
    assert captions.of_correlations(table).endswith("The strongest is -0.90, between “value” and “hour”.")


def test_values_go_from_the_smallest_to_the_largest():
    values = np.arange(20, 400, dtype=np.float32)
    assert captions.of_spread(spread(values), "value").endswith("the range is 20 to 399.")
    assert captions.of_spread(spread(np.append(values, -7)), "value").endswith("the range is -7 to 399.")
