"""DirectAU against numpy, pair by pair."""

from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.alignment import AlignmentAndUniformity
from jaxrec.models.mf import MatrixFactorization
from jaxrec.query import Query
from tests.models.weights import drawn

USER, ITEM = np.array([0, 1, 1, 2], np.int32), np.array([3, 0, 3, 1], np.int32)
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(3), np.arange(4))
MODEL = MatrixFactorization(3, 4, 2, temperature=1.0, biases=False, init_std=1.0)


def spread(x: np.ndarray) -> float:
    return np.log(np.mean([np.exp(-2 * np.sum((a - b) ** 2)) for a, b in combinations(x, 2)]))


@pytest.mark.parametrize("rows", [[0, 1, 3], [0, 1, 3, 3, 3], [2]], ids=["whole", "padded", "alone"])
def test_a_batch_by_hand(rows):
    """Pairs of an example with itself count; repetitions of the last example, which pad a batch, do not."""
    params = drawn(MODEL, Query(jnp.zeros(1, jnp.int32)))
    objective = AlignmentAndUniformity(gamma=0.7)
    examples, _ = objective.examples(TRAIN)
    costs = jax.jit(lambda *given: objective.costs(MODEL, *given, jnp.zeros(2, jnp.uint32), False))
    cost, weight = costs(params, examples, jnp.array(rows))
    p, q = (np.asarray(params["params"][f"{of}_embedding"]["table"], np.float64) for of in ("user", "item"))
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (p[USER[rows]], q[ITEM[rows]]))
    n = len(set(rows))
    expected = np.sum((x - y) ** 2, axis=1) + (0.7 * (spread(x[:n]) + spread(y[:n])) / 2 if n > 1 else 0)
    np.testing.assert_allclose(cost, expected, rtol=1e-5)
    np.testing.assert_array_equal(weight, 1)
