"""Properties of items by hand: what counts are of, ages at the time of the lists, groups, and availability."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.data.splits.split import HeldOut
from jaxrec.pipeline.item_facts import ItemFacts
from jaxrec.ranking import QueryRows

FEATURES = pd.DataFrame(
    {
        "kind": pd.Categorical(["hats", "shoes", "hats", "shoes", "socks"]),
        "brand": pd.Categorical(["a", "a", "b", "b", None]),
        "released": ["1970-01-01", "1970-01-06", "1970-01-11", "1970-01-31", None],
        "year": [2000, 2010, 2005, 2020, np.nan],
        "stock": ["yes", "no", "Yes", None, "yes"],
    }
)
USER, ITEM = np.array([0, 0, 0, 1, 1, 2], np.int32), np.array([0, 1, 2, 0, 1, 3], np.int32)
TIME = np.array([10, 12, 14, 16, 18, 20], np.int64) * DAY
TARGET = np.arange(6) < 5  # user 2 has only viewed item 3
KNOWN = Interactions(
    USER, ITEM, None, TIME, None, np.arange(3), np.arange(5), item_features=FEATURES, target=TARGET, name="shop"
)
ROWS = QueryRows.for_users(np.arange(3), KNOWN.histories)


def facts(**columns):
    run = SimpleNamespace(categories=None, user_ids=np.arange(3), item_ids=np.arange(5))
    return ItemFacts(**{"category": "kind", "vectors": "category"} | columns)(HeldOut(KNOWN, KNOWN), KNOWN, run)


def test_popularity_is_that_of_targets():
    found = facts()
    assert found.items.counts.tolist() == [2, 2, 1, 0, 0]
    assert found.n_users == 2
    np.testing.assert_allclose(found.mean_popularity(ROWS), [5 / 3, 2, np.nan], rtol=1e-6)


def test_categories_of_a_history():
    found = facts()
    shares = found.category_shares(ROWS).toarray()[:, [found.categories.index(name) for name in ("hats", "shoes")]]
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3], [1 / 2, 1 / 2], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("group", "names", "groups", "target"),
    [
        ("popularity", ("head", "tail"), [0, 0, 1, 1, 1], [4 / 5, 1 / 5]),  # two items cover half of six rows
        ("brand", ("unknown", "a", "b"), [1, 1, 2, 2, 0], [0, 4 / 5, 1 / 5]),
    ],
)
def test_groups_and_their_shares_of_the_targets(group, names, groups, target):
    found = facts(group=group)
    assert found.groups == names
    assert found.items.groups.tolist() == groups
    np.testing.assert_allclose(found.items.target, target, rtol=1e-6)


@pytest.mark.parametrize(
    ("born", "ages"),
    [
        (None, [10, 8, 6, 0, np.nan]),  # since the first interaction
        ("released", [20, 15, 10, -10, np.nan]),  # until the latest interaction, on day 20
        ("year", [10, 0, 5, -10, np.nan]),  # until the newest item that was bought
    ],
)
def test_ages_at_the_latest_interaction(born, ages):
    np.testing.assert_allclose(facts(born=born).items.ages, ages)


def test_items_that_are_in_stock_and_of_no_excluded_category_are_available():
    assert facts(available="stock").items.available.tolist() == [True, False, True, False, True]
    assert facts(available="stock", without=("hats",)).items.available.tolist() == [False, False, False, False, True]
    assert facts(without=("hats",)).items.available.tolist() == [False, True, False, True, True]
