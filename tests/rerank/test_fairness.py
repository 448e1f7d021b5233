"""Exposure in a band and calibration against lists by their definitions in numpy."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.metrics import divergence
from jaxrec.rerank.fairness import calibrated, within_band

USERS, CANDIDATES, K, GROUPS = 5, 14, 8, 3


@pytest.fixture(scope="module")
def rng():
    return np.random.default_rng(3)


@pytest.fixture(scope="module")
def scores(rng):
    scores = rng.normal(size=(USERS, CANDIDATES)).astype(np.float32)
    scores[-1, 6:] = -np.inf
    return scores


def relevances(scores):
    known = scores[np.isfinite(scores)].astype(float)
    return (scores.astype(float) - known.min()) / (known.max() - known.min())


def banded(scores, groups, target, band):
    r, exposure, total, chosen = relevances(scores), np.zeros(len(target)), 0.0, []
    for rank in range(1, K + 1):
        left = [i for i in range(len(scores)) if np.isfinite(scores[i]) and i not in chosen]
        if not left:
            break
        w = 1 / np.log2(rank + 1)
        total += w
        due = [i for i in left if exposure[groups[i]] + w <= (target[groups[i]] - band) * total]
        open_ = [i for i in left if exposure[groups[i]] < (target[groups[i]] + band) * total]
        best = max(due or open_ or left, key=lambda i: r[i])
        exposure[groups[best]] += w
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("band", [0.03, 0.21, 1.0])
def test_exposure_against_its_rules(rng, scores, band):
    groups = rng.integers(0, GROUPS, scores.shape).astype(np.int32)
    target = np.array([0.55, 0.3, 0.15], np.float32)
    order = np.asarray(within_band(scores, groups, target, band, k=K))
    for user in range(USERS):
        expected = banded(scores[user], groups[user], target.astype(float), band)
        assert order[user, : len(expected)].tolist() == expected
    if band == 1.0:
        assert (order == np.argsort(-scores, axis=1, kind="stable")[:, :K]).all()


def test_two_groups_leave_the_band_by_one_item_at_most(rng):
    k, n = 10, 40
    scores = rng.normal(size=(200, n)).astype(np.float32)
    groups = np.broadcast_to(np.arange(n, dtype=np.int32) % 2, scores.shape)
    scores += 3 * (groups == 0)  # a model that recommends one group only
    weights = 1 / np.log2(np.arange(2, k + 2))
    for target, band in ((0.5, 0.0), (0.5, 0.2), (0.2, 0.1), (0.8, 0.05)):
        shares = np.array([target, 1 - target], np.float32)
        order = np.asarray(within_band(scores, groups, shares, band, k=k))
        share = ((np.take_along_axis(groups, order, 1) == 0) * weights).sum(1) / weights.sum()
        assert share.max() <= target + band + 1 / weights.sum() + 1e-6
        assert share.min() >= target - band - 1 / weights.sum() - 1e-6
        assert share.max() < 1  # as by scores alone


def kl(own, listed):
    smooth = 0.99 * listed + 0.01 * own
    return sum(p * np.log(p / q) for p, q in zip(own, smooth, strict=True) if p > 0)


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.95])
def test_calibration_against_its_definition(rng, scores, strength):
    mixes = rng.dirichlet([0.3] * GROUPS, scores.shape).astype(np.float32)
    own = rng.dirichlet([0.5] * GROUPS, USERS).astype(np.float32)
    mixes[:, 2] = 0  # no history
    own[0] = [1, 0, 0]
    order = np.asarray(calibrated(scores, mixes, own, strength, k=K))
    for user in range(USERS):
        r, chosen = relevances(scores[user]), []
        left = [i for i in range(CANDIDATES) if np.isfinite(scores[user, i])]
        while left and len(chosen) < K:

            def value(i, r=r, chosen=chosen, user=user):
                listed = mixes[user, [*chosen, i]].astype(float).mean(axis=0)
                return (1 - strength) * r[i] - strength * kl(own[user].astype(float), listed)

            chosen.append(max(left, key=value))
            left.remove(chosen[-1])
        assert order[user, : len(chosen)].tolist() == chosen


def test_divergence_is_zero_for_equal_shares_and_for_users_without_history():
    own = jnp.array([[0.5, 0.5, 0], [0, 0, 0], [1, 0, 0]])
    listed = jnp.array([[0.5, 0.5, 0], [0, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(divergence(own, listed), [0, 0, np.log(100)], atol=1e-6)
