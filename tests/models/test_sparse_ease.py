"""Sparse EASE against EASE in closed form, on all items and on neighborhoods."""

import jax
import numpy as np
import pytest

from jaxrec.errors import InputError
from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.hyper import Hyper
from jaxrec.models import sparse_ease
from jaxrec.models.sparse_ease import SparseEASE
from tests.models.neighbors import ITEMS, train


def fitted(model: SparseEASE, *regularization: float) -> np.ndarray:
    """Return the weights of the last member as a dense matrix B."""
    numbers = {"model.regularization": np.array(regularization, np.float32)}
    population = Population(np.arange(len(regularization)), Hyper(numbers))
    params = ClosedForm()(model, train()[0], population).params["params"]
    b = np.zeros((ITEMS, ITEMS))
    for item in range(ITEMS):
        np.add.at(b[:, item], np.asarray(params["neighbors"][-1, item]), np.asarray(params["similarities"][-1, item]))
    return b


def test_with_all_items_as_neighbors_it_is_ease():
    _, x = train()
    p = np.linalg.inv(x.T @ x + 3 * np.eye(ITEMS))
    expected = p / -np.diag(p)
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(fitted(SparseEASE(ITEMS, 9, ITEMS), 30.0, 3.0), expected, rtol=1e-4, atol=1e-6)


def test_each_item_is_regressed_on_its_nearest_items(monkeypatch):
    monkeypatch.setattr(sparse_ease, "ROWS", 4)
    _, x = train()
    found, gram = fitted(SparseEASE(ITEMS, 9, 3), 3.0), x.T @ x
    for item in range(ITEMS - 1):
        cosine = gram[item] / np.sqrt(np.maximum(np.diag(gram), 1))
        cosine[item] = -1
        near = np.argsort(-cosine, kind="stable")[:3]
        expected = np.linalg.solve(gram[np.ix_(near, near)] + 3 * np.eye(3), gram[near, item])
        np.testing.assert_allclose(found[near, item], expected, rtol=1e-4, atol=1e-6)
        assert (np.delete(found[:, item], near) == 0).all()
    assert (found[:, -1] == 0).all()  # an item without users has no neighbors


def test_the_device_solution_equals_that_of_the_host(monkeypatch):
    monkeypatch.setattr(sparse_ease, "BLOCK_FLOATS", 20)  # two items at a time
    data, _ = train()
    model = SparseEASE(ITEMS, 9, 3, regularization=3.0, n_neighbors=2)
    found, host = jax.jit(model.solve)(model.prepare(data)), model.solve_on_host(data, [model])
    found = jax.tree.map(np.asarray, found)
    np.testing.assert_array_equal(found["neighbors"] * (found["similarities"] != 0), host["neighbors"][0])
    np.testing.assert_allclose(found["similarities"], host["similarities"][0], rtol=1e-4, atol=1e-6)


def test_memory_is_checked_before_the_fit(monkeypatch):
    monkeypatch.setattr("jaxrec.memory.available", lambda: 1000)
    with pytest.raises(InputError, match="model=sparse_ease with 9 items, 3 neighbors, and up to 81 pairs of items"):
        SparseEASE(ITEMS, 9, 3).prepare(train()[0])
