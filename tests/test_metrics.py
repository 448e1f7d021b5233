"""Ranking metrics against hand-derived values, plain Python and scikit-learn."""

from functools import partial
from math import log2, sqrt

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_squared_error, ndcg_score

from jaxrec import metrics
from jaxrec.metric_names import OF_LIST, RANKED, Metric, metric, per_user
from jaxrec.metrics import METRICS, appearances, coverage, inequality, novelty
from tests.slow import some_slow

WIDTH = 6  # one width for every random list, so that each metric is compiled once
CHOSEN: tuple[Metric, ...] = tuple(map(metric, RANKED))
LISTS = [key for key in METRICS if metric(key).kind == OF_LIST]
COMPILED = {key: jax.jit(METRICS[key]) for key in LISTS}


def one(key: str, hits: list[int], n_relevant: int) -> float:
    """Return a metric of a single user."""
    return float(COMPILED[key](np.array([hits], bool), np.array([n_relevant], np.int32))[0])


def oracle(key: str, hits: list[bool], n: int) -> float:
    """Return metrics by their definitions, in plain Python."""
    k, ranks = len(hits), [rank for rank, hit in enumerate(hits, 1) if hit]
    return {
        "ndcg": sum(1 / log2(r + 1) for r in ranks) / sum(1 / log2(r + 1) for r in range(1, min(n, k) + 1)),
        "hit_rate": float(bool(ranks)),
        "precision": len(ranks) / k,
        "recall": len(ranks) / n,
        "recall_min": len(ranks) / min(n, k),
        "map": sum(found / r for found, r in enumerate(ranks, 1)) / min(n, k),
        "map_all": sum(found / r for found, r in enumerate(ranks, 1)) / n,
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "rbp": sum(0.2 * 0.8 ** (r - 1) for r in ranks),
        "err": sum(0.5 * 0.5**found / r for found, r in enumerate(ranks)),
    }[key]


@st.composite
def lists(draw):
    """Generate hits of one list and a possible number of relevant items."""
    hits = draw(st.lists(st.booleans(), min_size=WIDTH, max_size=WIDTH))
    return hits, draw(st.integers(max(1, sum(hits)), 3 * WIDTH))


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ndcg", (1 / log2(3) + 1 / log2(5)) / (1 + 1 / log2(3) + 1 / log2(4))),
        ("hit_rate", 1),
        ("precision", 2 / 4),
        ("recall", 2 / 3),
        ("recall_min", 2 / 3),
        ("map", (1 / 2 + 2 / 4) / 3),
        ("mrr", 1 / 2),
        ("rbp", 0.2 * (0.8 + 0.8**3)),
        ("err", 0.5 / 2 + 0.5 * 0.5 / 4),
    ],
)
def test_hits_at_two_and_four_of_three_relevant_items(key, expected):
    assert one(key, [0, 1, 0, 1], 3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ndcg", 1 / (1 + 1 / log2(3))),
        ("precision", 1 / 2),
        ("recall", 1 / 5),
        ("recall_min", 1 / 2),
        ("map", 1 / 2),
        ("map_all", 1 / 5),
    ],
)
def test_more_relevant_items_than_the_list_is_long(key, expected):
    """n = 5 > K = 2 with a hit at the first position: min(n, K) is 2."""
    assert one(key, [1, 0], 5) == pytest.approx(expected)


@given(lists())
@settings(max_examples=25, deadline=None)
def test_oracle(case):
    hits, n = case
    for key in LISTS:
        assert one(key, hits, n) == pytest.approx(oracle(key, hits, n), abs=1e-6), key


@pytest.mark.parametrize("k", some_slow([1, 5, 20], 1, 20))
def test_ndcg_against_scikit_learn(k):
    """Scores decrease with the rank, so scikit-learn ranks the catalog in this order."""
    rng = np.random.default_rng(0)
    relevant = rng.random((50, 20)) < 0.3
    relevant[:, 7] = True  # scikit-learn has no value for a user without relevant items
    scores = np.tile(-np.arange(20.0), (50, 1))
    ours = COMPILED["ndcg"](relevant[:, :k], relevant.sum(1).astype(np.int32))
    assert float(ours.mean()) == pytest.approx(ndcg_score(relevant, scores, k=k), abs=1e-6)


@given(lists())
@settings(max_examples=25, deadline=None)
def test_order_among_metrics(case):
    values = {key: one(key, *case) for key in ("recall", "recall_min", "hit_rate", "mrr")}
    assert values["recall"] <= values["recall_min"] <= values["hit_rate"]
    assert values["mrr"] <= values["hit_rate"]


def test_per_user_keys_and_list_lengths():
    hits, n = jnp.array([[False, True, True], [True, False, False]]), jnp.array([2, 1])
    values = jax.jit(partial(per_user, ks=(1, 3), chosen=CHOSEN))(hits, n)
    assert list(values) == [f"{key}@{k}" for k in (1, 3) for key in RANKED]
    assert values["recall@1"].tolist() == [0, 1]
    assert values["recall@3"].tolist() == [1, 1]
    assert values["mrr@1"].tolist() == [0, 1]
    assert values["precision@1"].tolist() == [0, 1]
    np.testing.assert_allclose(values["precision@3"], [2 / 3, 1 / 3], rtol=1e-6)


def test_per_user_refuses_lists_too_short():
    with pytest.raises(ValueError, match="k=5 exceeds the 3 items"):
        per_user(jnp.zeros((1, 3), bool), jnp.array([1]), (1, 5), CHOSEN)


@pytest.mark.slow
def test_per_user_under_jit_and_vmap():
    """A population of members with the same users; jit keeps the order of the keys."""
    hits = jax.random.bernoulli(jax.random.key(0), 0.3, (3, 4, 5))
    n = jnp.array([5, 6, 0, 7])
    of_one = partial(per_user, ks=(2, 5), chosen=CHOSEN)
    together, alone = jax.jit(jax.vmap(of_one, in_axes=(0, None)))(hits, n), jax.jit(of_one)
    assert list(together) == [f"{key}@{k}" for k in (2, 5) for key in RANKED]
    for member in range(3):
        for key, values in alone(hits[member], n).items():
            np.testing.assert_allclose(together[key][member], values, rtol=1e-6, err_msg=key)


@pytest.mark.parametrize("key", LISTS)
def test_users_of_a_batch_are_measured_independently(key):
    hits = np.random.default_rng(0).random((5, WIDTH)) < 0.4
    n = np.array([6, 7, 3, 12, 9], np.int32)
    expected = [oracle(key, row.tolist(), int(count)) for row, count in zip(hits, n, strict=True)]
    np.testing.assert_allclose(COMPILED[key](hits, n), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([[0, 1], [1, 2]], 3 / 8),
        ([[0, -1], [-1, -1]], 1 / 8),
        ([[-1, -1]], 0),
        ([[7, 8]], 1 / 8),
        ([list(range(8))], 1),
    ],
)
def test_coverage_counts_each_item_once_and_padding_never(items, expected):
    for dtype in (np.int32, np.int16):
        assert float(jax.jit(coverage, static_argnums=1)(np.array(items, dtype), 8)) == expected


def test_rating_errors():
    predictions, targets = jnp.array([1.0, 2.0, 5.0]), jnp.array([2.0, 2.0, 3.0])
    errors = {key: METRICS[key] for key in ("mse", "rmse", "mae")}
    assert {key: pytest.approx(float(error(predictions, targets))) for key, error in errors.items()} == {
        "mse": 5 / 3,
        "rmse": sqrt(5 / 3),
        "mae": 1,
    }


def test_rating_errors_against_scikit_learn():
    predictions, targets = np.random.default_rng(0).normal(3, 1, (2, 1000)).astype(np.float32)
    ours = [float(error(jnp.array(predictions), jnp.array(targets))) for error in (metrics.mse, metrics.mae)]
    assert ours == pytest.approx(
        [mean_squared_error(targets, predictions), mean_absolute_error(targets, predictions)], rel=1e-5
    )


def test_gini_of_appearances():
    gini = jax.jit(inequality)
    assert gini(np.ones(8, np.float32)) == pytest.approx(0, abs=1e-6)
    assert gini(np.eye(8, dtype=np.float32)[2]) == pytest.approx(7 / 8)
    assert np.isnan(gini(np.zeros(8, np.float32)))
    counts = jax.jit(appearances, static_argnums=1)
    assert counts(np.array([[0, 2], [2, -1]], np.int32), 3).tolist() == [1, 0, 2]


def test_novelty_in_bits_of_the_listed_items():
    shares = jnp.array([1.0, 0.5, 0.125])
    found = jax.jit(novelty)(jnp.array([[0, 1], [2, -1], [-1, -1]], jnp.int32), shares)
    np.testing.assert_allclose(found, [0.5, 3.0, np.nan])


def test_serendipity_counts_unexpected_hits():
    """Of four positions: two hits, one of them expected; one hit, expected."""
    hits = np.array([[True, True, False, True], [False, False, True, False]])
    expected = np.array([[True, False, True, False], [False, False, True, True]])
    np.testing.assert_allclose(METRICS["serendipity"](jnp.asarray(hits), jnp.asarray(expected)), [0.5, 0])


def test_popularity_bias_is_relative_to_the_history_of_the_user():
    """Mean of .2 and .4 over .1, of .1 over .2; an empty list and a user without history have no value."""
    listed = np.array([[0.2, 0.4], [0.1, np.nan], [np.nan, np.nan], [0.1, 0.2]], np.float32)
    own = np.array([0.1, 0.2, 0.1, np.nan], np.float32)
    np.testing.assert_allclose(
        METRICS["popularity_bias"](jnp.asarray(listed), jnp.asarray(own)), [2, -0.5, np.nan, np.nan], rtol=1e-6
    )
