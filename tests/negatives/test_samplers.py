"""Samplers that depend on the data, the batch or the model: which items they draw, and how often."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.negatives.batch_shared import BatchShared
from jaxrec.negatives.candidates import SamplerContext
from jaxrec.negatives.dynamic import Dynamic
from jaxrec.negatives.given import ListedNegatives
from jaxrec.negatives.hard import Hard
from jaxrec.negatives.in_batch import InBatch
from jaxrec.negatives.mixed import Mixed
from jaxrec.negatives.popularity import Popularity
from jaxrec.negatives.uniform import Uniform
from jaxrec.random import stream

SOURCE = stream(jax.random.key(11))
USERS, ITEMS, N = 50, 40, 600
RNG = np.random.default_rng(1)
USER = np.concatenate([np.arange(USERS), RNG.integers(0, USERS - 1, N - USERS)]).astype(np.int32)
ITEM = np.minimum(RNG.geometric(0.1, N) - 1, ITEMS - 1).astype(np.int32)
LISTS = (np.repeat(np.arange(10), 3).astype(np.int32), np.tile([7, 8, 9, 20, 21, 22], 5).astype(np.int32))
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(USERS), np.arange(ITEMS), negatives=LISTS)
HAS = np.zeros((USERS, ITEMS), bool)
HAS[USER, ITEM] = True
COUNTS = np.bincount(ITEM, minlength=ITEMS)
MINED = jnp.asarray(np.arange(USERS)[:, None] % 5 * 2 + np.arange(2)[None, :], jnp.int32)  # two items per user


def draw(sampler, rows: np.ndarray, n_negatives: int = 4, mined=MINED, users=None):
    """Draw negatives in a compiled function, as in an epoch; the model's score is the item's number."""
    tables = sampler.prepare(TRAIN)
    users = USER[rows % N] if users is None else users

    def drawn(rows, user, positive, n):
        given = SamplerContext(tables, user, positive, lambda items: items.astype(jnp.float32), mined)
        return sampler(SOURCE, rows, ITEMS, n, given)

    candidates = jax.jit(drawn)(
        jnp.asarray(rows), jnp.asarray(users), jnp.asarray(ITEM[rows % N]), jnp.int32(n_negatives)
    )
    return np.asarray(candidates.items), np.asarray(candidates.used), candidates.log_q


MANY = np.arange(20_000)


def fits(items: np.ndarray, weights: np.ndarray) -> bool:
    """Return whether items occur in these proportions, and items of weight 0 never."""
    counts, possible = np.bincount(items.ravel(), minlength=ITEMS), weights > 0
    expected = weights[possible] / weights.sum() * counts.sum()
    return counts[~possible].sum() == 0 and stats.chisquare(counts[possible], expected).pvalue > 1e-3


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_popularity_has_an_exponent_and_returns_probabilities(power):
    items, used, log_q = draw(Popularity(power=power), MANY)
    assert fits(items, COUNTS**power * (COUNTS > 0))
    assert (used == 1).all()
    seen = COUNTS > 0
    np.testing.assert_allclose(np.exp(log_q)[seen], COUNTS[seen] ** power / (COUNTS[seen] ** power).sum(), rtol=1e-5)


@pytest.mark.parametrize("sampler", [Uniform(exclude_known=True), Popularity(exclude_known=True, power=1.0)])
def test_used_negatives_are_never_known_and_have_the_conditional_distribution(sampler):
    user = 3
    items, used, _ = draw(sampler, MANY, users=np.full(len(MANY), user, np.int32))
    assert HAS[user].any()
    assert not HAS[user][items[used > 0]].any()
    assert fits(items[used > 0], np.where(HAS[user], 0, COUNTS**sampler.power))
    both_known = HAS[user].mean() if not sampler.power else COUNTS[HAS[user]].sum() / N
    assert np.mean(used == 0) == pytest.approx(both_known**2, abs=0.01)


def test_mixed_draws_its_share_from_each():
    items, _, log_q = draw(Mixed(first=Popularity(power=1.0), second=Uniform(), share=0.25), MANY)
    mixture = 0.25 * COUNTS / N + 0.75 / ITEMS
    assert fits(items, mixture)
    np.testing.assert_allclose(np.exp(log_q), mixture, rtol=1e-5)
    own = Mixed(first=Popularity(power=1.0), second=Uniform(), exclude_known=True)
    items, used, _ = draw(own, MANY, users=np.full(len(MANY), 3, np.int32))
    assert not HAS[3][items[used > 0]].any()
    with pytest.raises(InputError, match="needs samplers that draw per example"):
        Mixed(first=InBatch(), second=Uniform()).prepare(TRAIN)


def test_dynamic_keeps_the_candidate_with_the_highest_score():
    """The largest of m uniform numbers below I is i with probability ((i + 1)^m - i^m) / I^m."""
    items, used, log_q = draw(Dynamic(candidates=3), MANY)
    i = np.arange(ITEMS)
    assert fits(items, ((i + 1.0) ** 3 - i**3.0) / ITEMS**3)
    assert (used == 1).all()
    assert log_q is None
    kept, counts, _ = draw(Dynamic(candidates=3, exclude_known=True), MANY)
    assert not HAS[np.repeat(USER[MANY % N], 4), kept.ravel()][counts.ravel() > 0].any()


def test_dynamic_keeps_a_negative_if_any_of_its_candidates_is_unknown():
    """The user has all items but 37, 38 and 39, which the few attempts often do not draw."""
    known = np.arange(ITEMS - 3, dtype=np.int32)
    train = Interactions(np.zeros_like(known), known, None, None, None, np.arange(1), np.arange(ITEMS))
    sampler, rows, n = Dynamic(ratio=4, candidates=3, exclude_known=True), jnp.arange(400), jnp.int32(4)
    user = jnp.zeros(len(rows), jnp.int32)
    context = SamplerContext(sampler.prepare(train), user, user, lambda items: items.astype(jnp.float32))
    drawn = Popularity(12, exclude_known=True, power=sampler.power)(SOURCE, rows, ITEMS, jnp.int32(12), context)
    candidates = np.where(drawn.used, drawn.items, -1).reshape(len(rows), 4, 3)
    assert {*np.unique((candidates >= 0).sum(axis=2))} >= {0, 1, 2}
    kept = sampler(SOURCE, rows, ITEMS, n, context)
    np.testing.assert_array_equal(np.where(kept.used, kept.items, -1), candidates.max(axis=2))


@pytest.mark.parametrize(("ratio", "n_negatives"), [(3, 2), (100, 100), (100, 3)])
def test_in_batch_uses_the_following_examples(ratio, n_negatives):
    same = np.flatnonzero(np.isin(ITEM, ITEM[5]))[1]
    rows = np.array([5, same, 100, 17, 17, 17])  # two of one item; a short batch repeats its last example
    items, used, log_q = draw(InBatch(ratio), rows, n_negatives)
    items = np.broadcast_to(items, used.shape)
    for place in range(4):
        others = [(place + 1 + c) % 6 for c in range(min(n_negatives, 5))]
        expected = sorted(ITEM[rows[o]] for o in others if o < 4 and ITEM[rows[o]] != ITEM[rows[place]])
        assert sorted(items[place][used[place] > 0].tolist()) == expected
    np.testing.assert_allclose(np.exp(log_q)[COUNTS > 0], COUNTS[COUNTS > 0] / N, rtol=1e-5)


def test_a_batch_shares_one_set_without_the_known_items_of_an_example():
    rows = np.arange(30)
    items, used, _ = draw(BatchShared(ratio=16, exclude_known=True), rows, 12)
    assert items.shape == (1, 16)
    expected = (np.arange(16) < 12)[None, :] & ~HAS[USER[rows]][:, items[0]]
    np.testing.assert_array_equal(used, expected)
    first = np.concatenate([draw(BatchShared(ratio=256), np.array([row, row]))[0] for row in range(20)])
    assert fits(first, np.ones(ITEMS))


def test_a_shared_negative_is_not_used_for_the_example_whose_positive_it_is():
    """Also if known items are not excluded; 256 draws from 40 items contain every positive."""
    rows = np.arange(30)
    items, used, _ = draw(BatchShared(ratio=256), rows, 256)
    assert np.isin(ITEM[rows], items).all()
    np.testing.assert_array_equal(used, items != ITEM[rows][:, None])


@pytest.mark.parametrize("power", [0.0, 2.0])
def test_hard_draws_its_share_from_mined_items(power):
    """Items 0 and 1 are mined for user 5; rank p is drawn in proportion to 1 / p^power."""
    items, _, _ = draw(Hard(ranks=(2, 3), share=0.5, power=power), MANY, users=np.full(len(MANY), 5, np.int32))
    places = np.array([1.0, 2.0**-power])
    expected = np.full(ITEMS, 0.5 / ITEMS)
    expected[:2] += 0.5 * places / places.sum()
    assert fits(items, expected)
    nothing, _, _ = draw(Hard(ranks=(2, 3), share=1.0), MANY, mined=jnp.full((USERS, 2), -1))
    assert fits(nothing, np.ones(ITEMS))


def test_ranks_beyond_the_catalog_or_the_pool_are_refused():
    with pytest.raises(InputError, match="exceed the 40 items of the catalog: choose"):
        Hard(ranks=(1, 41)).prepare(TRAIN)
    with pytest.raises(InputError, match=r"exceed the 10 items of negatives\.pool"):
        Hard(ranks=(1, 11), pool=10).prepare(TRAIN)
    with pytest.raises(InputError, match="first rank must not exceed"):
        Hard(ranks=(3, 2))
    assert Hard(ranks=(3, 3)).width == 1


def test_the_number_of_used_negatives_is_that_of_the_member():
    assert [int(Uniform(ratio=4).in_use), int(Uniform(ratio=4, n_negatives=2).in_use)] == [4, 2]


def test_one_set_for_all_positions_of_a_batch():
    """Targets are -1 where there are none; all targets of the batch are drawn equally often, repeats included."""
    target = jnp.array([[3, -1, 5], [5, 5, -1]])
    user = jnp.array([1, 2])
    context = SamplerContext(InBatch().prepare(TRAIN), user, target, lambda items: items.astype(jnp.float32))
    drawn = InBatch(ratio=4000).shared(SOURCE, jnp.array([7, 8]), ITEMS, jnp.int32(3999), context)
    assert drawn.items.shape == (1, 4000)
    assert drawn.used.sum() == 3999
    assert fits(np.asarray(drawn.items), np.isin(np.arange(ITEMS), [3, 5]) * np.where(np.arange(ITEMS) == 5, 3.0, 1.0))
    sampler = Popularity(ratio=4000, power=0.0)
    drawn = sampler.shared(
        SOURCE, jnp.array([7, 8]), ITEMS, jnp.int32(10), context._replace(tables=sampler.prepare(TRAIN))
    )
    assert drawn.items.shape == drawn.used.shape == (1, 4000)
    assert drawn.used.sum() == 10


def test_listed_draws_from_the_users_own_rows():
    items, _, _ = draw(ListedNegatives(share=1.0), MANY, users=np.full(len(MANY), 4, np.int32))
    assert fits(items, np.isin(np.arange(ITEMS), [7, 8, 9]).astype(float))
    odd, _, _ = draw(ListedNegatives(share=1.0), MANY, users=np.full(len(MANY), 5, np.int32))
    assert fits(odd, np.isin(np.arange(ITEMS), [20, 21, 22]).astype(float))
    others, _, _ = draw(ListedNegatives(share=1.0), MANY, users=np.full(len(MANY), 20, np.int32))
    assert fits(others, np.ones(ITEMS))


@pytest.mark.parametrize(
    "kind",
    [
        Uniform,
        Popularity,
        Dynamic,
        ListedNegatives,
        lambda ratio: Hard(ratio=ratio, ranks=(1, 2)),
        lambda ratio: Mixed(first=Popularity(), second=Uniform(), ratio=ratio),
    ],
)
@pytest.mark.slow
def test_a_larger_ratio_keeps_the_first_columns_in_any_batch(kind):
    few, many = draw(kind(ratio=3), MANY[:40], 3)[0], draw(kind(ratio=8), MANY[:40], 3)[0]
    np.testing.assert_array_equal(many[:, :3], few)
    np.testing.assert_array_equal(draw(kind(ratio=3), np.array([31, 2]), 3)[0], few[[31, 2]])


def test_without_the_data_only_uniform_draws():
    with pytest.raises(InputError, match="negatives=uniform"):
        Popularity()(SOURCE, jnp.arange(3), ITEMS, jnp.int32(4))
