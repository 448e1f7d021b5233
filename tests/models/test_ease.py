"""EASE against the paper's closed form, written with an inverse in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.models.ease import EASE
from jaxrec.query import Query

USERS, ITEMS = 20, 9


def train() -> tuple[Interactions, np.ndarray]:
    """Return random pairs, some of them twice, as interactions and as a binary matrix; no user has the last item."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, [[USERS], [ITEMS - 1]], (2, 80)).astype(np.int32)
    x = np.zeros((USERS, ITEMS))
    x[user, item] = 1
    return Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS)), x


def closed_form(x: np.ndarray, regularization: float) -> np.ndarray:
    """Steck 2019, equation 8."""
    p = np.linalg.inv(x.T @ x + regularization * np.eye(ITEMS))
    b = p / -np.diag(p)
    np.fill_diagonal(b, 0)
    return b


def hyper(*regularization: float) -> Hyper:
    return Hyper({"model.regularization": np.array(regularization, np.float32)})


def test_prepare_counts_a_pair_once():
    data, x = train()
    assert len(data) > x.sum()
    np.testing.assert_array_equal(EASE(ITEMS, 9).prepare(data), x.T @ x)


def test_every_member_solves_with_its_own_regularization():
    data, x = train()
    fit = ClosedForm()(EASE(ITEMS, 9), data, Population(np.arange(3), hyper(0.5, 10.0, 300.0)))
    weights = np.asarray(fit.params["params"]["weights"])
    assert weights.shape == (3, ITEMS, ITEMS)
    for member, regularization in enumerate((0.5, 10.0, 300.0)):
        np.testing.assert_allclose(weights[member], closed_form(x, regularization), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(np.diag(weights[member]), 0)
    assert fit.best_epoch == [0, 0, 0]
    assert fit.history == [[], [], []]
    assert fit.diverged == [False] * 3
    assert not fit.interrupted
    assert fit.placement == "3 members on 1 cpu device, 3 on each, sequential"


def test_the_device_solution_equals_that_of_the_host():
    data, x = train()
    model = EASE(ITEMS, 9, 10.0)
    found = jax.jit(model.solve)(jnp.asarray(model.prepare(data)))["weights"]
    np.testing.assert_allclose(found, closed_form(x, 10.0), rtol=1e-4, atol=1e-6)


def test_the_solution_against_ridge_regression():
    """Column j is the ridge regression of x_j on the other columns, by scikit-learn."""
    from sklearn.linear_model import Ridge

    data, x = train()
    fit = ClosedForm()(EASE(ITEMS, 9), data, Population(np.arange(1), hyper(2.0)))
    weights = np.asarray(fit.params["params"]["weights"])[0]
    for j in range(ITEMS):
        others = np.delete(np.arange(ITEMS), j)
        expected = Ridge(alpha=2.0, fit_intercept=False).fit(x[:, others], x[:, j]).coef_
        np.testing.assert_allclose(weights[others, j], expected, rtol=1e-4, atol=1e-5)


def test_scores_add_the_rows_of_the_history():
    weights = np.random.default_rng(1).normal(size=(ITEMS, ITEMS)).astype(np.float32)
    model, params = EASE(ITEMS, 4), {"params": {"weights": jnp.asarray(weights)}}
    history = jnp.array([[-1, -1, 2, 5], [-1, -1, -1, -1], [8, 0, 8, 8], [-1, 8, 0, 1]])
    query = Query(jnp.arange(4), History(history))
    expected = np.stack([weights[[2, 5]].sum(0), np.zeros(ITEMS), weights[[8, 0]].sum(0), weights[[8, 0, 1]].sum(0)])
    found = jax.jit(lambda params: model.apply(params, query, method="score_catalog"))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    items = jnp.array([[1, 8]] * 4)
    np.testing.assert_array_equal(model.apply(params, query, items), np.asarray(found)[:, [1, 8]])


def test_more_regularization_gives_smaller_weights():
    _, x = train()
    data, _ = train()
    fit = ClosedForm()(EASE(ITEMS, 9), data, Population(np.arange(2), hyper(1.0, 1e6)))
    weights = np.abs(np.asarray(fit.params["params"]["weights"]))
    assert weights[1].max() <= x.sum(0).max() / 1e6 * 1.01  # P is nearly I / regularization
    assert weights[0].max() > 100 * weights[1].max()
