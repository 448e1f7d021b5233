"""Chunks of a batch, cut to their longest window, do not change costs and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import backend
from jaxrec.fitting import chunks
from jaxrec.fitting.chunks import SequenceBatch, in_chunks

LENGTH = 8


def batch() -> SequenceBatch:
    """Windows of 1 to 8 items at the end of 8 positions, with weights."""
    rng = np.random.default_rng(0)
    used = np.array([3, 8, 1, 5, 2, 8, 4])
    filled = np.arange(LENGTH)[None, :] >= LENGTH - used[:, None]
    items = np.where(filled, rng.integers(0, 5, filled.shape), -1)
    weight = np.where(filled, rng.random(filled.shape), 0).astype(np.float32)
    return SequenceBatch(jnp.arange(7), jnp.asarray(items), jnp.asarray(items[:, ::-1]), jnp.asarray(weight))


def cost_of(params, chunk):
    row = chunk.rows[:, None].astype(jnp.float32)
    return jnp.sum(chunk.weight * jnp.sin(params["scale"][chunk.items]) * (1.0 + row))


@pytest.mark.parametrize("rows_per_chunk", [1, 2, 4, 7, 50])
def test_cost_and_gradient_equal_those_of_the_whole_batch(rows_per_chunk, monkeypatch):
    """7 windows: the last chunk of 2 or 4 windows is short. Derivative of w sin(p) r: w cos(p) r."""
    choices = backend.choices()._replace(encode_block=rows_per_chunk * LENGTH)
    monkeypatch.setitem(backend.CHOICES, "cpu", choices)
    monkeypatch.setattr(chunks, "MIN_LENGTH", 2)
    whole, scale = batch(), np.linspace(0.1, 1.7, 5).astype(np.float32)
    both = jax.jit(jax.value_and_grad(lambda params: 3 * in_chunks(cost_of, params, whole)))
    cost, gradient = both({"scale": jnp.asarray(scale)})
    items, weight = np.asarray(whole.items), np.asarray(whole.weight) * (1 + np.arange(7)[:, None])
    real = items >= 0
    expected = np.bincount(items[real], weights=weight[real] * np.cos(scale[items[real]]), minlength=5)
    assert float(cost) == pytest.approx(3 * np.sum(weight[real] * np.sin(scale[items[real]])), rel=1e-5)
    np.testing.assert_allclose(gradient["scale"], 3 * expected, rtol=1e-5)
