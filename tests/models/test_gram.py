"""The Gram matrix and its inverse against NumPy, in blocks and tiles, and their memory."""

import tracemalloc

import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.models import gram as module
from jaxrec.models.ease import EASE
from jaxrec.models.gram import binary, gram, invert


def interactions(n_users: int, n_items: int, n: int) -> tuple[Interactions, np.ndarray]:
    """Return random pairs, some of them twice, and the binary matrix."""
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, [[n_users], [n_items]], (2, n)).astype(np.int32)
    x = np.zeros((n_users, n_items), np.float32)
    x[user, item] = 1
    return Interactions(user, item, None, None, None, np.arange(n_users), np.arange(n_items)), x


@pytest.mark.parametrize("entries", [1, 70, 1 << 24])
def test_the_gram_matrix_does_not_depend_on_blocks(entries, monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", entries)
    data, x = interactions(30, 23, 200)
    assert len(data) > x.sum()
    np.testing.assert_array_equal(gram(binary(data)), x.T @ x)


@pytest.mark.parametrize(("block", "tile"), [(1, 23), (5, 5), (8, 1), (23, 512), (512, 512)])
def test_the_inverse_against_numpy_for_all_blocks_and_tiles(block, tile, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    monkeypatch.setattr(module, "TILE", tile)
    _, x = interactions(30, 23, 200)
    matrix = np.ascontiguousarray(x.T @ x + 2 * np.eye(23, dtype=np.float32))
    expected = np.linalg.inv(matrix.astype(np.float64))
    invert(matrix)
    np.testing.assert_allclose(matrix, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("block", [1, 2])
def test_a_matrix_that_is_not_positive_definite_has_no_inverse(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    matrix = np.array([[1, 2], [2, 1]], np.float32)
    invert(matrix)
    assert np.isnan(matrix).all()


@pytest.mark.slow
def test_ease_on_the_host_needs_one_matrix_per_member(monkeypatch):
    monkeypatch.setattr(module, "ENTRIES", 1 << 12)
    monkeypatch.setattr(module, "BLOCK", 32)
    monkeypatch.setattr(module, "TILE", 32)
    n, penalties = 600, np.array([20.0, 200.0], np.float32)
    data, x = interactions(100, n, 1500)
    members = [EASE(n, 1, penalty) for penalty in penalties]
    tracemalloc.start()
    weights = EASE(n, 1).solve_on_host(data, members)["weights"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.3 * weights.nbytes
    for found, penalty in zip(weights, penalties, strict=True):
        p = np.linalg.inv(x.T @ x + penalty * np.eye(n))
        expected = p / -np.diag(p)
        np.fill_diagonal(expected, 0)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
