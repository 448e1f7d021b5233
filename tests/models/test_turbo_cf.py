"""Turbo-CF against its formula in float64."""

import jax
import numpy as np
import pytest

from jaxrec.models.turbo_cf import TurboCF
from tests.models.neighbors import ITEMS, train


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_filter_is_the_polynomial_of_the_graph(order):
    data, x = train()
    users, items = (np.maximum(x.sum(axis=axis), 1) for axis in (1, 0))
    normalized = np.diag(users**-0.6) @ x @ np.diag(items**-0.4)
    p = (normalized.T @ normalized) ** 1.3
    expected = {1: p, 2: 2 * p - p @ p, 3: p + 0.01 * (-p @ p @ p + 10 * p @ p - 29 * p)}[order]
    model = TurboCF(ITEMS, 9, alpha=0.6, power=1.3, order=order)
    found = jax.jit(model.solve)(model.prepare(data))["weights"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
