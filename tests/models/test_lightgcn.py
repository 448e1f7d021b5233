"""LightGCN against numpy: scores, gradient descent, and the stored vectors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.epochs import fresh
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import CatalogObjective, SampledObjective
from jaxrec.fitting.optimizers import adam, sgd
from jaxrec.fitting.population import Population
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.losses import bpr
from jaxrec.models.lightgcn import LightGCN
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.uniform import Uniform
from jaxrec.query import Query
from tests.models.dense_graph import powers
from tests.models.neighbors import ITEMS, USERS, train
from tests.models.weights import assert_scores, call, drawn

D = 4
RATE, PENALTY = 0.5, 0.02
QUERY = Query(jnp.array([2, 0, 2], jnp.int32))
HYPER = Hyper(
    {
        "optimizer.learning_rate": np.array([RATE], np.float32),
        "model.regularization": np.array([PENALTY], np.float32),
    }
)


def tables(params: dict) -> np.ndarray:
    """Return the vectors of all users, followed by those of all items."""
    params = params["params"]
    return np.concatenate([params["user_embedding"]["table"], params["item_embedding"]["table"]])


def split(e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return e[:USERS], e[USERS:]


@pytest.mark.parametrize("temperature", [None, 0.4])
@pytest.mark.parametrize("n_layers", [0, 1, 3])
def test_training_scores_are_products_of_propagated_vectors(n_layers, temperature):
    data, _ = train()
    model = LightGCN(USERS, ITEMS, D, n_layers, temperature=temperature)
    params = drawn(model, QUERY)
    p, q = split(powers(data, n_layers) @ tables(params))
    if temperature:
        p, q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (p, q))
    expected = (p @ q.T)[[2, 0, 2]] / (temperature or 1)
    in_training = model.clone(prepared=model.prepare(data))
    assert_scores(in_training, params, QUERY, expected)
    finished = {"params": call(in_training, params, "finished")}
    assert_scores(model, finished, QUERY, expected)


def test_without_layers_it_is_matrix_factorization():
    """The same losses and parameters after two epochs, with negatives and a penalty."""
    data, _ = train()
    fit = GradientFit(SampledObjective(bpr, Uniform(2)), adam, epochs=2, batch_size=32)
    one, other = (
        fit(model, data, Population(np.array([3]), HYPER))
        for model in (LightGCN(USERS, ITEMS, D, 0), MatrixFactorization(USERS, ITEMS, D, biases=False))
    )
    assert [row["loss"] for row in one.history[0]] == pytest.approx([row["loss"] for row in other.history[0]])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), one.params, other.params)


def test_steps_are_those_of_gradient_descent_on_the_embeddings():
    """Two steps on the full softmax of all users; the stored vectors are the propagated embeddings."""
    data, x = train()
    model = LightGCN(USERS, ITEMS, D, 2, init_std=1.0)
    fit = GradientFit(CatalogObjective(), sgd, epochs=2, batch_size=USERS)(
        model, data, Population(np.array([3]), HYPER)
    )
    key, _ = jax.random.split(jax.random.key(3))
    e, a, n = tables(fresh(model, key, Hyper())).astype(np.float64), powers(data, 2), x.sum()
    degree = np.concatenate([x.sum(axis=1), x.sum(axis=0)])
    for epoch in range(2):
        p, q = split(a @ e)
        likely = softmax(p @ q.T, axis=1)
        cost = -np.sum(x * np.log(likely)) + PENALTY * np.sum(degree * np.sum(e**2, axis=1))
        assert fit.history[0][epoch]["loss"] == pytest.approx(cost / n, rel=1e-5)
        error = x.sum(axis=1, keepdims=True) * likely - x
        of_vectors = np.concatenate([error @ q, error.T @ p])
        e -= RATE * (a.T @ of_vectors + 2 * PENALTY * degree[:, None] * e) / n
    found = tables(jax.tree.map(lambda x: x[0], fit.params))
    np.testing.assert_allclose(found, a @ e, rtol=1e-4, atol=1e-5)


def test_a_user_without_interactions_keeps_a_share_of_the_initial_vector():
    data, _ = train()
    more = Interactions(data.user, data.item, None, None, None, np.arange(USERS + 1), np.arange(ITEMS))
    model = LightGCN(USERS + 1, ITEMS, D, 3)
    hyper = Hyper({"optimizer.learning_rate": np.array([RATE], np.float32)})
    fit = GradientFit(SampledObjective(bpr, Uniform(2)), sgd, epochs=1, batch_size=32)
    params = fit(model, more, Population(np.array([3]), hyper)).params["params"]
    key, _ = jax.random.split(jax.random.key(3))
    initial = fresh(model, key, Hyper())["params"]["user_embedding"]["table"]
    np.testing.assert_allclose(params["user_embedding"]["table"][0, -1], initial[-1] / 4, rtol=1e-6)


def test_new_users_are_folded_in_with_the_stored_vectors():
    """As in matrix factorization with the same tables and without biases."""
    query = Query(jnp.array([-1]), History(jnp.array([[-1, 0, 4]])))
    for temperature in (None, 0.4):
        model = LightGCN(USERS, ITEMS, D, 3, temperature=temperature)
        params = drawn(model, QUERY)
        mf = MatrixFactorization(USERS, ITEMS, D, temperature=temperature, biases=False)
        found, expected = (call(m.fold_in(3), params, "score_catalog", query) for m in (model, mf))
        np.testing.assert_array_equal(found, expected)
