"""Item neighbors against loops over sets of users."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.models.item_knn import ItemKNN
from jaxrec.models.similarity import similarity
from jaxrec.query import Query
from tests.models.neighbors import ITEMS, KINDS, USERS, train
from tests.models.weights import call
from tests.slow import some_slow


def population(shrinkage: list[float], neighbors: list[int]) -> Population:
    numbers = {"model.shrinkage": np.array(shrinkage, np.float32), "model.n_neighbors": np.array(neighbors, np.int32)}
    return Population(np.arange(len(shrinkage)), Hyper(numbers))


def by_hand(x: np.ndarray, kind: str, k: int, weight: np.ndarray) -> np.ndarray:
    """Return W [I, I]: column i has the similarities of the k items nearest to i."""
    w = np.zeros((ITEMS, ITEMS))
    for i in range(ITEMS):
        both = {j: float(weight @ (x[:, i] * x[:, j])) for j in range(ITEMS) if j != i}
        size = [float(weight @ x[:, j]) for j in range(ITEMS)]
        near = {j: KINDS[kind](both[j], size[i], size[j]) for j in both if both[j] > 0}
        for j in sorted(near, key=lambda j: (-near[j], j))[:k]:
            w[j, i] = near[j]
    return w


def dense(params: dict) -> np.ndarray:
    w = np.zeros((ITEMS, ITEMS))
    for i, (items, similarities) in enumerate(zip(params["neighbors"], params["similarities"], strict=True)):
        np.add.at(w[:, i], np.asarray(items), np.asarray(similarities))
    return w


@pytest.mark.parametrize("kind", some_slow(KINDS, "dice"))
def test_neighbors_against_loops(kind):
    data, x = train()
    fit = ClosedForm()(ItemKNN(ITEMS, 9, 5, kind), data, population([2.0, 2.0], [5, 3]))
    for member, k in enumerate((5, 3)):
        found = jax.tree.map(lambda values, m=member: values[m], fit.params["params"])
        np.testing.assert_allclose(dense(found), by_hand(x, kind, k, np.ones(USERS)), rtol=1e-5)
        assert (np.asarray(found["similarities"])[:, k:] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_similarities_of_sets(kind):
    common, size, other = np.array([[3.0, 0.0, 1.0]]), np.array([4.0]), np.array([3.0, 5.0, 9.0])
    found = similarity(kind, *(jnp.asarray(x, jnp.float32) for x in (common, size, other)), 2.0)
    np.testing.assert_allclose(found[0], [KINDS[kind](3, 4, 3), 0, KINDS[kind](1, 4, 9)], rtol=1e-6)


def weights(x: np.ndarray) -> np.ndarray:
    """Return the squared weight of each user, log(items / (1 + items of the user))."""
    return np.log(ITEMS / (1 + x.sum(axis=1))).clip(0) ** 2


def test_common_users_are_counted_with_their_weights():
    data, x = train()
    found = ItemKNN(ITEMS, 9, 4, idf=True).prepare(data)
    np.testing.assert_allclose(found, x.T @ (weights(x)[:, None] * x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_users_with_many_items_count_less():
    data, x = train()
    weight = weights(x)
    assert weight.min() < weight.max() / 4
    fit = ClosedForm()(ItemKNN(ITEMS, 9, 4, idf=True), data, population([2.0], [4]))
    found = jax.tree.map(lambda values: values[0], fit.params["params"])
    np.testing.assert_allclose(dense(found), by_hand(x, "cosine", 4, weight), rtol=1e-5)


def test_scores_sum_the_similarities_of_the_history():
    data, x = train()
    model = ItemKNN(ITEMS, 4, 5)
    params = jax.tree.map(lambda values: values[0], ClosedForm()(model, data, population([2.0], [5])).params)
    history = History(jnp.array([[-1, -1, 2, 5], [-1, -1, -1, -1], [7, 0, 7, 7]]))
    had = np.zeros((3, ITEMS))
    had[0, [2, 5]] = had[2, [0, 7]] = 1
    found = call(model, params, "score_catalog", Query(jnp.arange(3), history))
    np.testing.assert_allclose(found, had @ by_hand(x, "cosine", 5, np.ones(USERS)), rtol=1e-5, atol=1e-7)


def test_a_catalog_that_is_too_large_is_refused():
    nobody = np.zeros(0, np.int32)
    data = Interactions(nobody, nobody, None, None, None, np.arange(1), np.arange(50_000))
    with pytest.raises(InputError, match="model=item_knn needs a co-occurrence matrix of 50,000 x 50,000 items"):
        ItemKNN(50_000, 1).prepare(data)
