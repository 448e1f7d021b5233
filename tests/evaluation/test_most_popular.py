"""Lists of the most popular items against the general ranker, and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.histories import UserHistories
from jaxrec.data.interactions import Interactions
from jaxrec.data.splits.split import HeldOut
from jaxrec.evaluation.most_popular import PopularityRanker, most_popular
from jaxrec.hyper import Hyper
from jaxrec.models.popularity import Popularity
from jaxrec.ranking import QueryRows, Ranker

COUNTS = np.array([2, 5, 0, 5, 1], np.float32)  # items by popularity: 1, 3 (a tie), 0, 4, 2


def queries(lists: list[list[int]]) -> QueryRows:
    """Rows of users with these known items."""
    offsets = np.cumsum([0, *map(len, lists)])
    known = UserHistories(offsets, np.array([item for items in lists for item in items], np.int32))
    return QueryRows.for_users(np.arange(len(lists)), known)


def test_lists_by_hand():
    """Users who know nothing; the best item, twice; all but the worst; every item."""
    rows = queries([[], [1, 1], [4, 0, 3, 1], [0, 1, 2, 3, 4]])
    expected = [[1, 3, 0], [3, 0, 4], [2, -1, -1], [-1, -1, -1]]
    np.testing.assert_array_equal(PopularityRanker(rows, 3).lists(COUNTS), expected)
    everything = PopularityRanker(rows, 3, exclude_known=False).lists(COUNTS)
    np.testing.assert_array_equal(everything, [[1, 3, 0]] * 4)


@pytest.mark.parametrize("excluded", [True, False])
def test_the_same_lists_and_scores_as_the_general_ranker(excluded):
    """Two members with many ties, and users who know up to all items, some of them repeatedly."""
    random, n_items = np.random.default_rng(3), 12
    rows = queries([random.integers(0, n_items, n).tolist() for n in (0, 1, 3, 8, 30, 60)])
    params = {"params": {"count": jnp.asarray(random.integers(0, 4, (2, n_items)), jnp.float32)}}
    own = PopularityRanker(rows, 9, exclude_known=excluded)(params, Hyper())
    general = Ranker(Popularity(n_items), rows, 9, exclude_known=excluded)(params, Hyper())
    for one, other in zip(own, general, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (np.asarray(own.items) < 0).any() == excluded


def test_lists_of_one_held_out_part_differ_by_length_and_filter():
    """They are computed once each; user 0 has the most popular item, which two users have."""
    user, item = np.array([[0, 1], [1, 1], [1, 2]], np.int32).T
    known = Interactions(user, item, None, None, None, np.arange(2), np.arange(4))
    held_out, rows = HeldOut(known, known), QueryRows.for_users(np.arange(2), known.histories)
    expected = {(1, True): [[2], [0]], (1, False): [[1], [1]], (2, False): [[1, 2]] * 2, (2, True): [[2, 0], [0, 3]]}
    for _ in range(2):
        for arguments, lists in expected.items():
            assert most_popular(held_out, rows, *arguments).tolist() == lists


def test_counts_that_are_not_finite_mark_the_member():
    params = {"params": {"count": jnp.asarray([COUNTS, [*COUNTS[:4], np.nan]])}}
    assert PopularityRanker(queries([[]]), 2)(params, Hyper()).finite.tolist() == [True, False]
