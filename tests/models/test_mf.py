"""Matrix factorization by hand, and tables with unused columns."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import SampledObjective
from jaxrec.fitting.optimizers import adam
from jaxrec.fitting.population import Population
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.losses import bpr
from jaxrec.models.embedding import Embedding
from jaxrec.models.fold_in import most_likely
from jaxrec.models.mf import MatrixFactorization
from jaxrec.negatives.uniform import Uniform
from jaxrec.query import Query
from tests.slow import some_slow

P = np.array([[1.0, 2.0], [0.5, -1.0]], np.float32)
Q = np.array([[3.0, 1.0], [0.0, 2.0], [-1.0, 1.0]], np.float32)
BY_HAND = {  # <p_u, q_i> + b_u + b_i + b with b_u = (0.25, 0), b_i = (0, 1, 2), b = 0.5
    2: [[5.75, 5.75, 3.75], [1.0, -0.5, 1.0]],
    1: [[3.75, 1.75, 1.75], [2.0, 1.5, 2.0]],  # only the first column
}


def params(width: int) -> dict:
    in_use = np.arange(2) < width  # unused columns are zero
    return {
        "params": {
            "user_embedding": {"table": jnp.asarray(P * in_use)},
            "item_embedding": {"table": jnp.asarray(Q * in_use)},
            "user_bias": {"table": jnp.array([0.25, 0.0])},
            "item_bias": {"table": jnp.array([0.0, 1.0, 2.0])},
            "bias": jnp.array([0.5]),
        }
    }


def fresh(model: nn.Module, seed: int) -> dict:
    """Return the initial parameters of a model."""
    asked = (
        (jnp.zeros(1, jnp.int32),)
        if isinstance(model, Embedding)
        else (Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))
    )
    return jax.tree.map(np.asarray, jax.jit(lambda key: model.init(key, *asked))(jax.random.key(seed))["params"])


@pytest.mark.parametrize("width", some_slow([1, 2], 1))
def test_scores_by_hand(width):
    model, users = MatrixFactorization(2, 3, 2, width=width), Query(jnp.array([1, 0]))
    expected = np.array(BY_HAND[width])[[1, 0]]
    catalog = jax.jit(lambda p: model.apply(p, users, method="score_catalog"))(params(width))
    candidates = jax.jit(lambda p: model.apply(p, users, jnp.array([[2, 0], [1, 1]])))(params(width))
    np.testing.assert_allclose(catalog, expected, rtol=1e-6)
    np.testing.assert_allclose(candidates, [expected[0, [2, 0]], expected[1, [1, 1]]], rtol=1e-6)


def test_cosines_by_hand():
    """cos((1, 2), .) of (3, 1), (0, 2), (-1, 1), divided by .5; with the biases of user and item, and without."""
    cosines = np.array([5 / np.sqrt(50), 2 / np.sqrt(5), 1 / np.sqrt(10)])
    users, items = Query(jnp.array([0])), jnp.array([[2, 0, 1]])
    for biases, expected in ((True, 2 * cosines + [0.75, 1.75, 2.75]), (False, 2 * cosines)):
        model = MatrixFactorization(2, 3, 2, temperature=0.5, biases=biases)
        of_model = {"params": {k: v for k, v in params(2)["params"].items() if biases or "bias" not in k}}

        @jax.jit
        def found(of_model, model=model):
            bound = model.bind(of_model)
            shared = bound.vectors_of(items[0]) @ bound.query_vectors(users)[0]
            return bound(users, items)[0], shared, bound.score_catalog(users)[0]

        candidates, shared, catalog = found(of_model)
        np.testing.assert_allclose(candidates, expected[[2, 0, 1]], rtol=1e-6)
        np.testing.assert_allclose(shared, expected[[2, 0, 1]], rtol=1e-6)
        np.testing.assert_allclose(catalog, expected, rtol=1e-6)


def test_vectors_of_new_users_are_between_their_items_with_cosines():
    """The maximum-likelihood vector for items 0 and 1 has norm 1 / temperature and is closest to these two."""
    model = MatrixFactorization(2, 3, 2, temperature=0.5, biases=False).fold_in(4)
    table = jnp.asarray([[1.0, 0.2], [5.0, -1.0], [-1.0, 0.0]])
    tables = {"user_embedding": {"table": jnp.asarray(P)}, "item_embedding": {"table": table}}
    history = History(jnp.array([[-1, -1, 0, 1]]))
    query = Query(jnp.array([-1]), history)
    (p,) = jax.jit(lambda p: model.apply(p, query, method="query_vectors"))({"params": tables})
    assert float(np.linalg.norm(p)) == pytest.approx(2, rel=1e-5)
    np.testing.assert_allclose(p, [2, 0], atol=0.05)  # the second coordinates, .2 and -.2, cancel


@pytest.mark.parametrize(("width", "variance"), [(1, (1 + 0.25) / 2), (2, (5 + 1.25) / 2 / 2)])
def test_the_prior_of_new_users_has_the_variance_of_the_trained_ones(width, variance):
    """The mean squared coordinate of (1, 2) and (.5, -1), in the columns in use; see `most_likely`."""
    model, items = MatrixFactorization(2, 3, 2, width=width).fold_in(4), jnp.array([[-1, 0, 1, 1]])
    query = Query(jnp.array([-1]), History(items))
    found = jax.jit(lambda p: model.apply(p, query, method="query_vectors"))(params(width))
    q, bias = jnp.asarray(Q * (np.arange(2) < width)), jnp.array([0.0, 1.0, 2.0])
    expected = jax.jit(most_likely)(q, bias, items, jnp.float32(variance))
    np.testing.assert_allclose(found, np.append(expected, [[0.5, 1]], axis=1), rtol=1e-4)


@pytest.mark.parametrize("width", [1, 2])
def test_the_penalty_is_the_squared_norm_of_the_columns_in_use(width):
    model = MatrixFactorization(2, 3, 2, regularization=0.1, width=width)
    of_user, of_item = jax.jit(lambda p: model.apply(p, Query(jnp.array([1, 0, 1])), method="penalty"))(params(width))
    np.testing.assert_allclose(of_user, 0.1 * (P[[1, 0, 1], :width] ** 2).sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(of_item, 0.1 * (Q[:, :width] ** 2).sum(axis=1), rtol=1e-6)


def test_unused_columns_have_no_gradient():
    model = MatrixFactorization(2, 3, 2, regularization=0.1, width=1)

    def total(params):
        of_user, of_item = model.apply(params, Query(jnp.array([0])), method="penalty")
        scores = model.apply(params, Query(jnp.array([0])), jnp.array([[0, 1, 2]]))
        return scores.sum() + of_user.sum() + of_item.sum()

    gradient = jax.jit(jax.grad(total))(params(1))["params"]
    for table in ("user_embedding", "item_embedding"):
        found = np.asarray(gradient[table]["table"])
        assert found[0, 0] != 0
        np.testing.assert_array_equal(found[:, 1], 0)


def test_the_norm_of_initial_rows_does_not_depend_on_the_width():
    """Squared norms of rows are std^2 chi^2(width) / width: mean std^2, deviation std^2 sqrt(2 / width)."""
    for width in (2, 32):
        table = fresh(Embedding(4000, 32, width, std=0.3), 0)["table"]
        lengths = np.sum(np.asarray(table, np.float64) ** 2, axis=1) / 0.3**2
        assert lengths.mean() == pytest.approx(1, abs=5 * np.sqrt(2 / width / 4000))
        np.testing.assert_array_equal(table[:, width:], 0)


@pytest.mark.slow
def test_a_wider_table_starts_with_the_same_columns():
    wide, narrow, other = (fresh(Embedding(50, dim, 3), seed)["table"] for dim, seed in ((8, 1), (3, 1), (3, 2)))
    np.testing.assert_array_equal(wide[:, :3], narrow)
    assert not (narrow == other).any()


def test_users_and_items_have_different_initial_tables():
    tables = fresh(MatrixFactorization(4, 4, 3), 0)
    assert not (tables["user_embedding"]["table"] == tables["item_embedding"]["table"]).any()
    np.testing.assert_array_equal(tables["user_bias"]["table"], 0)
    np.testing.assert_array_equal(tables["item_bias"]["table"], 0)


@pytest.mark.slow
def test_padding_stays_zero_in_training_and_other_columns_change():
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, [[5], [7]], (2, 30)).astype(np.int32)
    train = Interactions(user, item, None, None, None, np.arange(5), np.arange(7))
    numbers = {"optimizer.learning_rate": (0.1, 0.1), "model.regularization": (0.01, 0.01)}
    hyper = Hyper({key: np.array(x, np.float32) for key, x in numbers.items()} | {"model.width": np.array([2, 4])})
    fit = GradientFit(SampledObjective(bpr, Uniform(2)), adam, epochs=3, batch_size=8)
    model = MatrixFactorization(5, 7, 4)
    trained = fit(model, train, Population(np.array([0, 0]), hyper)).params["params"]
    for table in ("user_embedding", "item_embedding"):
        found = np.asarray(trained[table]["table"])
        np.testing.assert_array_equal(found[0, :, 2:], 0)
        assert (found[0, :, :2] != 0).all()
        assert (found[1] != 0).all()
