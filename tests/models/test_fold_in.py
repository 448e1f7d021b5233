"""Vectors of new users against numpy in float64: the maximum found by many small steps, and sums over histories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.fold_in import most_likely, sums

ITEMS, WIDTH = 50, 3


@pytest.fixture
def vectors():
    rng = np.random.default_rng(0)
    return rng.normal(size=(ITEMS, WIDTH)).astype(np.float32), rng.normal(size=ITEMS).astype(np.float32)


def test_sums_ignore_padding(vectors):
    q, _ = vectors
    items = np.full((2, 70), -1, np.int32)  # more than a chunk
    items[0, -3:] = [4, 9, 9]
    gram, total = sums(jnp.asarray(q), jnp.asarray(items))
    chosen = q[[4, 9, 9]].astype(float)
    np.testing.assert_allclose(gram[0], chosen.T @ chosen, rtol=1e-5)
    np.testing.assert_allclose(total[0], chosen.sum(0), rtol=1e-5)
    assert not np.any(gram[1])
    assert not np.any(total[1])


def test_fold_in_finds_the_maximum_likelihood_vector(vectors):
    """Gradient ascent in numpy gives the same; for a user without items only the prior is left."""
    q, b = vectors
    histories = [[1, 2, 2, 30], [7], []]
    items = np.full((3, 6), -1, np.int32)
    for row, history in enumerate(histories):
        items[row, 6 - len(history) :] = history
    found = np.asarray(jax.jit(most_likely)(q, b, items, jnp.float32(0.5)))
    for row, history in enumerate(histories):
        p = np.zeros(WIDTH)
        for _ in range(5000):
            likely = np.exp(q @ p + b)
            p += 0.05 * (q[history].sum(0) - len(history) * likely @ q / likely.sum() - p / 0.5)
        np.testing.assert_allclose(found[row], p, atol=0.02)
    assert np.abs(found[0]).max() > 0.3
    assert not found[2].any()
