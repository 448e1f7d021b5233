import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.data.sources.synthetic import synthetic
from jaxrec.errors import InputError


@settings(deadline=None, max_examples=25, database=None)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0, 1), st.integers(1, 12), st.integers(0, 3))
def test_the_number_of_distinct_pairs_is_exact(n_users, n_items, fullness, n_clusters, seed):
    least = min(2, n_items)
    n = int(n_users * (least + fullness * (n_items - least)))
    sizes = {"n_users": n_users, "n_items": n_items, "n_interactions": n, "n_clusters": min(n_clusters, n_items)}
    data = synthetic(**sizes, min_per_user=least, seed=seed)
    assert len(set(zip(data.user.tolist(), data.item.tolist(), strict=True))) == len(data) == n
    assert (data.n_users, data.n_items) == (n_users, n_items)
    assert np.bincount(data.user).min() >= least
    assert (np.diff(data.time)[np.diff(data.user) == 0] > 0).all()


def test_users_follow_their_clusters_and_popularity_is_skewed():
    data = synthetic(n_users=500, n_items=2_000, n_interactions=5_000, n_clusters=10, seed=3)
    own = data.item_features["cluster"].to_numpy()[data.item] == data.user_features["cluster"].to_numpy()[data.user]
    # 0.9 * 0.7 + 0.1 / 10 = 0.64 of the draws fall into the main cluster, fewer after repeats are drawn again.
    assert 0.5 < own.mean() < 0.67
    counts = np.sort(np.bincount(data.item, minlength=2_000))[::-1]
    # Weights r^-0.9: the top tenth of 2,000 ranks has 0.63 of the mass, less because users take no item twice.
    assert 0.45 < counts[:200].sum() / len(data) < 0.66


def test_index_and_order_are_independent_of_popularity():
    data = synthetic(n_users=300, n_items=1_000, n_interactions=20_000, seed=5)
    counts = np.bincount(data.item, minlength=1_000)
    assert abs(np.corrcoef(counts, np.arange(1_000))[0, 1]) < 0.1
    offsets, items = data.histories[:2]
    firsts, lasts = items[offsets[:-1]], items[offsets[1:] - 1]
    assert abs(firsts.mean() - lasts.mean()) < 100  # in sorted order they would be about 900 apart


def test_the_seed_sets_the_data():
    one, again, other = synthetic(seed=1), synthetic(seed=1), synthetic(seed=2)
    assert np.array_equal(one.item, again.item)
    assert np.array_equal(one.time, again.time)
    assert not np.array_equal(one.item, other.item)


def test_activity_is_lognormal_and_can_be_even():
    assert np.bincount(synthetic(activity=0.0).user).tolist() == [50] * 1_000
    spread = np.bincount(synthetic(activity=1.0, n_items=2_000).user)
    assert spread.max() > 4 * np.median(spread)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"n_users": 10, "n_items": 10, "n_interactions": 101},
            "n_interactions=101 must be between .* = 50 and .*100",
        ),
        ({"n_users": 10, "n_items": 10, "n_interactions": 49}, "data.n_interactions=49 must be between"),
        (
            {"n_users": 10, "n_items": 10, "n_interactions": 60, "min_per_user": 11},
            "min_per_user=11 must not",
        ),
        ({"n_items": 5, "n_clusters": 6}, "data.n_clusters=6 exceeds data.n_items=5"),
    ],
)
def test_impossible_sizes_are_errors(sizes, message):
    with pytest.raises(InputError, match=message):
        synthetic(**sizes)


def test_users_follow_the_cycle_of_clusters():
    """On a cycle hardly any pair of items occurs in both orders; in random order many do."""
    shares = []
    for sequential in (True, False):
        data = synthetic(n_users=60, n_items=20, n_interactions=600, sequential=sequential)
        same = data.user[1:] == data.user[:-1]
        follows = np.zeros((20, 20))
        np.add.at(follows, (data.item[:-1][same], data.item[1:][same]), 1)
        shares.append(np.minimum(follows, follows.T).sum() / follows.sum())
    assert shares[0] < shares[1] / 2
