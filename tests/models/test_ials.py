"""iALS against the normal equations of each user and item, dense and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.als import AlternatingFit
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.ials import ImplicitALS
from jaxrec.query import Query

USERS, ITEMS, WIDTH = 30, 12, 4


def train(weighted: bool = False) -> tuple[Interactions, np.ndarray]:
    """Return distinct pairs and their weights [U, I], 0 elsewhere; user 29 and item 11 have no pairs."""
    rng = np.random.default_rng(0)
    chosen = rng.random((USERS, ITEMS)) < 0.3
    chosen[-1] = chosen[:, -1] = False
    user, item = (column.astype(np.int32) for column in np.nonzero(chosen))
    weight = rng.uniform(0.5, 3, len(user)).astype(np.float32) if weighted else None
    dense = np.zeros((USERS, ITEMS))
    dense[user, item] = 1 if weight is None else weight
    data = Interactions(user, item, None, None, None, np.arange(USERS), np.arange(ITEMS), weight=weight)
    return data, dense


def population(regularization: list[float], unobserved: list[float] | None, width: list[int]) -> Population:
    real = {"model.regularization": regularization, "model.unobserved_weight": unobserved}
    numbers = {key: np.array(x, np.float32) for key, x in real.items() if x is not None}
    return Population(np.arange(len(width)), Hyper(numbers | {"model.width": np.array(width, np.int32)}))


def half(weights: np.ndarray, others: np.ndarray, reg: float, unobserved: float, nu: float) -> np.ndarray:
    """Rendle et al. 2022: each row's exact solution."""
    rows = []
    for w in weights:
        n = np.count_nonzero(w) + unobserved * len(others)
        matrix = (others.T * w) @ others + unobserved * others.T @ others + reg * n**nu * np.eye(others.shape[1])
        rows.append(np.linalg.solve(matrix, others.T @ w))
    return np.array(rows)


def objective(w: np.ndarray, p: np.ndarray, q: np.ndarray, reg: float, unobserved: float, nu: float) -> float:
    scores = p @ q.T
    n, m = (np.count_nonzero(w, axis=axis) + unobserved * w.shape[axis] for axis in (1, 0))
    penalty = reg * (n**nu @ (p**2).sum(1) + m**nu @ (q**2).sum(1))
    return (np.sum(w * (1 - scores) ** 2) + unobserved * np.sum(scores**2) + penalty) / np.count_nonzero(w)


@pytest.mark.parametrize(("weighted", "nu"), [pytest.param(False, 1.0, marks=pytest.mark.slow), (True, 0.5)])
def test_sweeps_against_the_normal_equations(weighted, nu):
    """Three sweeps of two members that differ in every setting; the narrower one is padded."""
    data, w = train(weighted)
    model = ImplicitALS(USERS, ITEMS, WIDTH, nu=nu)
    members = population([0.01, 0.1], [0.1, 0.5], [4, 2])
    fit = AlternatingFit(epochs=3)(model, data, members)
    for m, (reg, unobserved, width) in enumerate([(0.01, 0.1, 4), (0.1, 0.5, 2)]):
        key = jax.random.key(m)
        alone = ImplicitALS(USERS, ITEMS, width, nu=nu)
        fresh = jax.jit(
            lambda key, alone=alone: alone.init(key, Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))
        )(key)
        q = np.asarray(fresh["params"]["item_embedding"]["table"], np.float64)
        losses = []
        for _ in range(3):
            p = half(w, q, reg, unobserved, nu)
            q = half(w.T, p, reg, unobserved, nu)
            losses.append(objective(w, p, q, reg, unobserved, nu))
        found = jax.tree.map(lambda x, m=m: np.asarray(x[m]), fit.params["params"])
        np.testing.assert_allclose(found["user_embedding"]["table"][:, :width], p, rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(found["item_embedding"]["table"][:, :width], q, rtol=2e-3, atol=2e-4)
        assert (found["item_embedding"]["table"][:, width:] == 0).all()
        np.testing.assert_allclose([row["loss"] for row in fit.history[m]], losses, rtol=1e-4)
        assert losses[0] > losses[1] > losses[2]
        assert (found["user_embedding"]["table"][-1] == 0).all()


@pytest.mark.slow
def test_the_best_sweep_is_kept():
    data, _ = train()
    seen = []

    def validate(params, hyper, active):
        if not active.any():  # compiled before the first epoch
            return {}
        seen.append(jax.tree.map(np.array, params))
        return {"ndcg@10": np.array([[0.1, 0.3, 0.2, 0.2][len(seen) - 1]])}

    fit = AlternatingFit(epochs=9, patience=2)(
        ImplicitALS(USERS, ITEMS, WIDTH), data, population([0.01], [0.1], [4]), validate
    )
    assert (fit.best_epoch, len(fit.history[0])) == ([2], 4)
    jax.tree.map(np.testing.assert_array_equal, fit.params, seen[1])


def test_the_weight_of_all_pairs_is_relative_to_that_of_observed_pairs():
    """Normal equations with 10 times the weight of the observed pairs, shared by all pairs."""
    data, w = train()
    n, dim = np.count_nonzero(w), WIDTH
    one = population([0.01], None, [dim])
    model = ImplicitALS(USERS, ITEMS, dim, unobserved_total=10.0, density=n / (USERS * ITEMS))
    fit = AlternatingFit(epochs=1)(model, data, one)
    p, q = (np.asarray(fit.params["params"][f"{side}_embedding"]["table"][0], np.float64) for side in ("user", "item"))
    np.testing.assert_allclose(half(w.T, p, 0.01, 10 * n / (USERS * ITEMS), 1.0), q, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize(("weighted", "dim"), [(False, 4), (True, 5)])
def test_blocks_of_columns_are_solved_in_turn(weighted, dim):
    """Coordinate blocks, dense and in float64: two columns, then the next two, given those solved so far."""
    data, w = train(weighted)
    reg, unobserved, nu = 0.05, 0.2, 0.5
    members = population([reg, reg], [unobserved, unobserved], [dim, 2])
    fit = AlternatingFit(epochs=2)(ImplicitALS(USERS, ITEMS, dim, nu=nu, block=2), data, members)

    def side(weights, own, others, width):
        own = own.copy()
        for row, weight in enumerate(weights):
            n = np.count_nonzero(weight) + unobserved * len(others)
            matrix = (others.T * weight) @ others + unobserved * others.T @ others + reg * n**nu * np.eye(width)
            for first in range(0, width, 2):
                block = slice(first, first + 2)
                rest = np.delete(np.arange(width), np.arange(width)[block])
                right = (others.T @ weight)[block] - matrix[block][:, rest] @ own[row, rest]
                own[row, block] = np.linalg.solve(matrix[block, block], right)
        return own

    for m, width in enumerate([dim, 2]):
        alone = ImplicitALS(USERS, ITEMS, width, nu=nu)
        fresh = alone.init(jax.random.key(m), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))["params"]
        p, q = (np.asarray(fresh[f"{name}_embedding"]["table"], np.float64) for name in ("user", "item"))
        losses = []
        for _ in range(2):
            p = side(w, p, q, width)
            q = side(w.T, q, p, width)
            losses.append(objective(w, p, q, reg, unobserved, nu))
        found = jax.tree.map(lambda x, m=m: np.asarray(x[m]), fit.params["params"])
        np.testing.assert_allclose(found["user_embedding"]["table"][:, :width], p, rtol=2e-3, atol=2e-4)
        np.testing.assert_allclose(found["item_embedding"]["table"][:, :width], q, rtol=2e-3, atol=2e-4)
        assert (found["item_embedding"]["table"][:, width:] == 0).all()
        np.testing.assert_allclose([row["loss"] for row in fit.history[m]], losses, rtol=1e-4)
