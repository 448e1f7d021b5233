"""Scores of pairs, arranged in rows by user or one by one, against scores of the whole catalog."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.histories import UserHistories
from jaxrec.features import FeatureTables
from jaxrec.models.ease import EASE
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from jaxrec.recommend import pair_scorer
from jaxrec.recommend.pair_scorer import PairScorer
from tests.slow import some_slow

USERS, ITEMS = 40, 12


@pytest.mark.parametrize("n", some_slow([0, 1, 3, 100, 2000], 100, 2000))
def test_every_pair_gets_its_own_score(n, monkeypatch):
    """Pairs in any order and more than once: x_u B of EASE, and <p_u, q_i> + b_u + b_i + b."""
    monkeypatch.setattr(pair_scorer, "MANY", 16)
    rng = np.random.default_rng(n)
    users, items = rng.integers(0, USERS, n) ** 2 // USERS, rng.integers(0, ITEMS, n)  # some users have many pairs
    had = rng.random((USERS, ITEMS)) < 0.3
    had[5] = False
    known = UserHistories(np.concatenate([[0], np.cumsum(had.sum(1))]), np.nonzero(had)[1].astype(np.int32))

    weights = rng.normal(size=(ITEMS, ITEMS)).astype(np.float32)
    ease = PairScorer(EASE(ITEMS, ITEMS), FeatureTables(), {"params": {"weights": jnp.asarray(weights)}}, known)
    np.testing.assert_allclose(ease(users, items), (had @ weights)[users, items], rtol=1e-4, atol=1e-5)

    mf = MatrixFactorization(USERS, ITEMS, 4)
    params = jax.jit(mf.init)(jax.random.key(0), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))
    p, q = (np.asarray(params["params"][f"{side}_embedding"]["table"]) for side in ("user", "item"))
    scorer = PairScorer(mf, FeatureTables(), params, known)
    np.testing.assert_allclose(scorer(users, items), (p @ q.T)[users, items], rtol=1e-4, atol=1e-6)


def test_rows_have_one_width():
    """100 pairs of one user are two rows of 64, and one pair is also a row of 64."""
    nothing = UserHistories(np.zeros(USERS + 1, np.int64), np.zeros(0, np.int32))
    scorer = PairScorer(EASE(ITEMS, 3), FeatureTables(), {}, nothing)
    row, column, width = scorer._layout(np.repeat([3, 7], [100, 1]))
    assert width == 64
    assert row.tolist() == [0] * 64 + [1] * 36 + [2]
    assert column.tolist() == [*range(64), *range(36), 0]
    assert scorer._layout(np.arange(9))[2] == 64
