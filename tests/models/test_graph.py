"""Propagation over the user-item graph against the dense normalized adjacency matrix in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.models.graph import SEGMENT, mean_of_layers, user_item_graph
from tests.models.dense_graph import powers

USERS, ITEMS, D = 7, 40, 3


def interactions() -> Interactions:
    """User 0 has more than two segments of items, user 1 exactly one; user 6 and the last item have no interactions."""
    items = [np.arange(2 * SEGMENT + 5), np.arange(SEGMENT), [3, 3, 5], [0], [38, 5], [7]]
    user = np.repeat(np.arange(6, dtype=np.int32), [len(row) for row in items])
    item = np.concatenate(items).astype(np.int32)
    order = np.random.default_rng(0).permutation(len(user))
    return Interactions(user[order], item[order], None, None, None, np.arange(USERS), np.arange(ITEMS))


def vectors(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple(rng.normal(size=(n, D)).astype(np.float32) for n in (USERS, ITEMS))


@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_propagation_against_powers_of_the_adjacency_matrix(n_layers):
    train, e = interactions(), vectors()
    p, q = jax.jit(mean_of_layers, static_argnums=0)(n_layers, user_item_graph(train), e)
    expected = powers(train, n_layers) @ np.concatenate(e)
    np.testing.assert_allclose(np.concatenate([p, q]), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_against_the_dense_product():
    """The gradient of the sum of w * P e with respect to e is P' w."""
    train, w = interactions(), vectors(1)
    graph = user_item_graph(train)

    def weighted(e):
        return sum(jnp.vdot(*pair) for pair in zip(mean_of_layers(2, graph, e), w, strict=True))

    found = np.concatenate(jax.jit(jax.grad(weighted))(vectors()))
    np.testing.assert_allclose(found, powers(train, 2).T @ np.concatenate(w), rtol=1e-5, atol=1e-6)


def test_interactions_of_all_kinds_are_edges():
    """Views too, where purchases are recommended."""
    whole = interactions()
    graph = user_item_graph(Interactions(*list(vars(whole).values())[:7], target=whole.user != 2))
    jax.tree.map(np.testing.assert_array_equal, graph, user_item_graph(whole))
    assert 2 in graph.users.owner


def test_without_interactions_nothing_is_propagated():
    nothing = np.empty(0, np.int32)
    train = Interactions(nothing, nothing, None, None, None, np.arange(USERS), np.arange(ITEMS))
    p, q = jax.jit(mean_of_layers, static_argnums=0)(1, user_item_graph(train), vectors())
    np.testing.assert_array_equal(np.concatenate([p, q]), np.concatenate(vectors()) / 2)
