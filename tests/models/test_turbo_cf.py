"""Turbo-CF against its formula in float64."""

import jax
import numpy as np
import pytest

from jaxrec.models.turbo_cf import TurboCF
from tests.models.neighbors import ITEMS, train


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("power", [0.7, 1.3])
def test_the_filter_keeps_eigenvectors_and_maps_their_eigenvalues(order, power):
    data, x = train()
    users, items = (np.maximum(x.sum(axis=axis), 1) for axis in (1, 0))
    normalized = np.diag(users**-0.6) @ x @ np.diag(items**-0.4)
    eigenvalues, vectors = np.linalg.eigh((normalized.T @ normalized) ** power)
    kept = 1 - (1 - eigenvalues / eigenvalues.max()) ** order
    model = TurboCF(ITEMS, 9, alpha=0.6, power=power, order=order)
    found = jax.jit(model.solve)(model.prepare(data))["weights"]
    np.testing.assert_allclose(found, vectors * kept @ vectors.T, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("order", [1, 2])
def test_the_default_normalization_gives_the_filters_of_the_paper(order):
    data, x = train()
    users, items = (np.maximum(x.sum(axis=axis), 1) for axis in (1, 0))
    normalized = np.diag(users**-0.5) @ x @ np.diag(items**-0.5)
    p = normalized.T @ normalized
    model = TurboCF(ITEMS, 9, order=order)
    found = jax.jit(model.solve)(model.prepare(data))["weights"]
    np.testing.assert_allclose(found, p if order == 1 else 2 * p - p @ p, rtol=1e-3, atol=1e-5)
