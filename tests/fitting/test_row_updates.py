"""Optimizers that update only the rows of a batch, against dense updates and plain Python."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import InputError
from jaxrec.fitting.optimizers import row_adagrad, row_sgd, sgd
from jaxrec.fitting.row_updates import adagrad_rule
from jaxrec.models.embedding import Bias, Embedding

ROWS, WIDTH = 6, 3
IDS, OTHERS = jnp.array([1, 4, 1]), jnp.array([[4, 0], [2, 2], [1, 5]])


class Net(nn.Module):
    """Two look-ups in one table with common ids, a bias, and a dense layer."""

    def setup(self) -> None:
        self.vectors, self.bias, self.layer = Embedding(ROWS, WIDTH, std=1.0), Bias(ROWS), nn.Dense(1)

    def __call__(self, ids, others):
        scores = jnp.einsum("bd,bnd->bn", self.vectors(ids), jnp.tanh(self.vectors.lookup(others)))
        return scores + self.bias.lookup(others) + self.layer(self.vectors.lookup(ids))

    def everything(self):
        return jnp.sum(self.vectors.whole() ** 2)


NET = Net()
PARAMS = jax.jit(NET.init)(jax.random.key(0), IDS, OTHERS)


def cost(params):
    scores = NET.apply(params, IDS, OTHERS)
    return jnp.sum(scores**2), scores


@pytest.mark.slow
def test_row_sgd_equals_dense_sgd():
    dense, rows = sgd(learning_rate=0.01), row_sgd(learning_rate=0.01)
    one, other = PARAMS, PARAMS
    one_state, other_state = dense.init(one), rows.init(other)
    for _ in range(3):
        one, one_state, _ = dense.step(cost, one, one_state)
        other, other_state, report = rows.step(cost, other, other_state)
    assert report.shape == OTHERS.shape
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), one, other)
    moved = np.abs(np.asarray(other["params"]["vectors"]["table"] - PARAMS["params"]["vectors"]["table"])).sum(axis=1)
    assert (moved[[0, 1, 2, 4, 5]] > 0).all()
    assert moved[3] == 0


def test_row_adagrad_against_a_loop():
    """The look-ups of a table are updated in turn; a row in several places is updated several times."""
    rows = row_adagrad(learning_rate=0.1, initial_accumulator=0.5, eps=1e-3)
    found, state, _ = jax.jit(lambda params: rows.step(cost, params, rows.init(params)))(PARAMS)

    def of_bias(shown):
        scores = NET.apply(PARAMS, IDS, OTHERS)
        return jnp.sum((scores - PARAMS["params"]["bias"]["table"][OTHERS] + shown) ** 2)

    slopes = np.asarray(jax.jit(jax.grad(of_bias))(PARAMS["params"]["bias"]["table"][OTHERS]))
    total, expected = np.full(ROWS, 0.5), np.zeros(ROWS)
    for item, slope in zip(np.asarray(OTHERS).ravel(), slopes.ravel(), strict=True):
        total[item] += slope**2
    for item, slope in zip(np.asarray(OTHERS).ravel(), slopes.ravel(), strict=True):
        expected[item] -= 0.1 * slope / (np.sqrt(total[item]) + 1e-3)
    np.testing.assert_allclose(found["params"]["bias"]["table"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state.tables["bias"], total, rtol=1e-4)
    assert (
        np.asarray(found["params"]["vectors"]["table"])[3] == np.asarray(PARAMS["params"]["vectors"]["table"])[3]
    ).all()


@pytest.mark.parametrize("shape", [(ROWS,), (ROWS, WIDTH)])
def test_the_adagrad_sum_of_a_row_grows_by_the_mean_square_of_its_gradient(shape):
    """Two steps in numpy: row 2 is twice in the first batch, row 0 in both, row 1 in none."""
    rng = np.random.default_rng(0)
    table, total = rng.normal(size=shape), np.full(ROWS, 0.5)
    found, state = jnp.asarray(table, jnp.float32), jnp.asarray(total, jnp.float32)
    rule = jax.jit(adagrad_rule(0.1, 1e-3))
    for ids in ([2, 0, 2], [0, 4, 5]):
        gradient = rng.normal(size=(3, *shape[1:]))
        for row, slope in zip(ids, gradient, strict=True):
            total[row] += np.sum(slope**2) / slope.size
        for row, slope in zip(ids, gradient, strict=True):
            table[row] -= 0.1 * slope / (np.sqrt(total[row]) + 1e-3)
        found, state = rule(found, state, jnp.array(ids), jnp.asarray(gradient, jnp.float32))
    np.testing.assert_allclose(state, total, rtol=1e-5)
    np.testing.assert_allclose(found, table, rtol=1e-5)


def test_a_cost_that_reads_a_whole_table_is_refused():
    rows = row_sgd(learning_rate=0.1)
    with pytest.raises(InputError, match="the objective reads the whole table vectors in each step"):
        rows.step(lambda p: (NET.apply(p, method="everything"), None), PARAMS, rows.init(PARAMS))
