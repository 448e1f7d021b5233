"""iALS against the normal equations of each user and item, dense and in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.data.interactions import Interactions
from jaxrec.fitting.als import AlternatingFit
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models.ials import SEGMENT, ImplicitALS
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


def assert_member(fit, m, p, q, losses):
    """Member `m` has these vectors, zeros in its padded columns, and these losses of its epochs."""
    found, width = jax.tree.map(lambda x: np.asarray(x[m]), fit.params["params"]), p.shape[1]
    np.testing.assert_allclose(found["user_embedding"]["table"][:, :width], p, rtol=2e-3, atol=2e-4)
    np.testing.assert_allclose(found["item_embedding"]["table"][:, :width], q, rtol=2e-3, atol=2e-4)
    assert (found["item_embedding"]["table"][:, width:] == 0).all()
    np.testing.assert_allclose([row["loss"] for row in fit.history[m]], losses, rtol=1e-4)


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
        assert_member(fit, m, p, q, losses)
        assert losses[0] > losses[1] > losses[2]
        assert (fit.params["params"]["user_embedding"]["table"][m][-1] == 0).all()


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


def assert_two_sweeps(fit, side, widths, w, reg, unobserved, nu):
    """Each member, of its own width, has the vectors and losses of `side(weights, own, others, width)`."""
    for m, width in enumerate(widths):
        alone = ImplicitALS(USERS, ITEMS, width, nu=nu)
        fresh = alone.init(jax.random.key(m), Query(jnp.zeros(1, jnp.int32)), jnp.zeros((1, 1), jnp.int32))["params"]
        p, q = (np.asarray(fresh[f"{name}_embedding"]["table"], np.float64) for name in ("user", "item"))
        losses = []
        for _ in range(2):
            p = side(w, p, q, width)
            q = side(w.T, q, p, width)
            losses.append(objective(w, p, q, reg, unobserved, nu))
        assert_member(fit, m, p, q, losses)


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

    assert_two_sweeps(fit, side, [dim, 2], w, reg, unobserved, nu)


@pytest.mark.parametrize(("weighted", "n_steps"), [(False, 1), (True, 2)])
def test_steps_of_conjugate_gradients_minimize_over_the_krylov_space(weighted, n_steps):
    """The best of all vectors p + span(K r, K A K r, ...), with residual r and matrix A of a row, and K close to 1 / A.

    K is the inverse of the matrix of a row with the average number of interactions, all with an average vector. Dense,
    in float64.
    """
    data, w = train(weighted)
    reg, unobserved, nu = 0.05, 0.2, 0.5
    members = population([reg, reg], [unobserved, unobserved], [WIDTH, 3])
    fit = AlternatingFit(epochs=2)(ImplicitALS(USERS, ITEMS, WIDTH, nu=nu, cg_steps=n_steps), data, members)

    def side(weights, own, others, width):
        rows = []
        mean = np.count_nonzero(weights) / len(weights)
        common = (mean / len(others) + unobserved) * others.T @ others
        close = np.linalg.inv(common + reg * (mean + unobserved * len(others)) ** nu * np.eye(width))
        for p, weight in zip(own, weights, strict=True):
            n = np.count_nonzero(weight) + unobserved * len(others)
            matrix = (others.T * weight) @ others + unobserved * others.T @ others + reg * n**nu * np.eye(width)
            residual = others.T @ weight - matrix @ p
            space = np.stack(
                [np.linalg.matrix_power(close @ matrix, k) @ close @ residual for k in range(n_steps)], axis=1
            )
            rows.append(p + space @ np.linalg.solve(space.T @ matrix @ space, space.T @ residual))
        return np.array(rows)

    assert_two_sweeps(fit, side, [WIDTH, 3], w, reg, unobserved, nu)


def test_rows_that_are_solved_stay_as_they_are():
    """More steps than dimensions: residuals of zero, 0 / 0 without a guard."""
    data, _ = train()
    fitted = [
        AlternatingFit(epochs=3)(
            ImplicitALS(USERS, ITEMS, WIDTH, cg_steps=steps), data, population([0.05], [0.2], [WIDTH])
        ).params
        for steps in (3 * WIDTH, None)
    ]
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-3, atol=2e-4), *fitted)


def test_a_single_member_is_split_over_devices_and_trains_to_the_same_bits(monkeypatch):
    """Three batches of 64 users and two of items, on two devices; two members have a device each."""
    block = SEGMENT * WIDTH * 64
    monkeypatch.setitem(backend.CHOICES, "cpu", backend.CHOICES["cpu"]._replace(solve_block=block))
    rng = np.random.default_rng(1)
    user, item = (column.astype(np.int32) for column in np.nonzero(rng.random((150, 100)) < 0.05))
    data = Interactions(user, item, None, None, None, np.arange(150), np.arange(100))
    model = ImplicitALS(150, 100, WIDTH, cg_steps=2)
    single, several = population([0.05], [0.2], [WIDTH]), population([0.05, 0.1], [0.2, 0.2], [WIDTH] * 2)
    fit = AlternatingFit(epochs=2)
    assert [side.row.shape for side in model.prepare(data)] == [(3, 64), (2, 64)]
    assert fit.program(model, data, single.hyper, 1)[1].n_batch_devices == 2
    alone, first = fit(model, data, single), fit(model, data, several)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x[0], y[0]), alone.params, first.params)
    assert [row["loss"] for row in alone.history[0]] == [row["loss"] for row in first.history[0]]
    p, q = (
        np.asarray(alone.params["params"][f"{side}_embedding"]["table"][0], np.float64) for side in ("user", "item")
    )
    w = np.zeros((150, 100))
    w[user, item] = 1
    assert alone.history[0][-1]["loss"] == pytest.approx(objective(w, p, q, 0.05, 0.2, 1.0), rel=1e-4)
