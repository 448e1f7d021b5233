"""Scores of all pairs by tiles, against one product."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import pairs
from jaxrec.pairs import every_pair
from tests.slow import some_slow

FLOATS = 16
RNG = np.random.default_rng(0)


def relu_of_one(user, items):
    """Return scores: a sum over hidden units, plus biases of users and items; None is left out."""
    (hidden, user_bias), (columns, item_bias, nothing) = user, items
    assert nothing is None
    return jax.nn.relu(hidden[:, None] + columns).sum(axis=0) + user_bias + item_bias


def parts(n_users: int, n_items: int):
    users = RNG.normal(size=(n_users, 8)), RNG.normal(size=n_users)
    items = RNG.normal(size=(8, n_items)), RNG.normal(size=n_items), None
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), (users, items))


@pytest.mark.parametrize("n_users", some_slow([1, 5], 1))
@pytest.mark.parametrize(
    "n_items", some_slow([1, 19, 20, 21, 39, 40, 41, 57], 19, 21, 39, 41)
)  # tiles of 20 items at most
def test_tiles_cover_every_score_once(n_users, n_items, monkeypatch):
    monkeypatch.setattr(pairs, "TILE_FLOATS", 20 * FLOATS)
    users, items = parts(n_users, n_items)
    expected = np.maximum(users[0][:, :, None] + items[0][None], 0).sum(axis=1) + users[1][:, None] + items[1][None]
    found = jax.jit(lambda *given: every_pair(relu_of_one, *given, FLOATS))(users, items)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_on_a_cpu_only_scores_have_the_size_of_the_catalog():
    n_users, n_items = 50, 40_000
    users, items = parts(n_users, n_items)
    program = jax.jit(lambda *given: every_pair(relu_of_one, *given, 8)).lower(users, items).compile()
    scores = 4 * n_users * n_items
    assert program.memory_analysis().temp_size_in_bytes < 2 * scores + 4 * pairs.TILE_FLOATS  # 8 scores at once
