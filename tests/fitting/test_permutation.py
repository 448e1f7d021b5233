"""The Feistel shuffle: a bijection for every length, uniform over streams, the same however it is batched."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrec.fitting.permutation import shuffled
from jaxrec.random import stream, substream
from tests.slow import some_slow

LONGEST = 5000
SOURCE = stream(jax.random.key(3))
STREAMS = jax.vmap(substream, in_axes=(None, 0))(SOURCE, jnp.arange(20_000))


def order(source: jax.Array, n: int) -> np.ndarray:
    """Return the whole order. All n have one shape, so that nothing is compiled again."""
    with jax.disable_jit():
        return np.asarray(shuffled(source, n, jnp.minimum(jnp.arange(LONGEST), n - 1)))[:n]


def orders(n: int) -> np.ndarray:
    """Return the orders of 20,000 streams, [S, n]."""
    return np.asarray(jax.jit(jax.vmap(lambda source: shuffled(source, n, jnp.arange(n))))(STREAMS))


@given(st.integers(1, LONGEST), st.integers(0, 2**32 - 1))
@example(1, 0)
@example(4999, 1)  # prime
@example(4096, 2)  # a square, and a power of two
@example(4097, 3)
@example(4095, 4)
@settings(max_examples=8, deadline=None)
@pytest.mark.slow
def test_the_order_is_a_permutation(n, number):
    found = order(substream(SOURCE, number), n)
    np.testing.assert_array_equal(np.sort(found), np.arange(n))


def test_all_short_lengths_are_bijections():
    for n in [*range(1, 11), 16, 17, 31, 49]:
        np.testing.assert_array_equal(np.sort(order(SOURCE, n)), np.arange(n), err_msg=str(n))


@pytest.mark.slow
def test_compiled_lengths_are_bijections():
    for n in (2, 49, 1009):
        found = jax.jit(lambda index, n=n: shuffled(SOURCE, n, index))(jnp.arange(n))
        np.testing.assert_array_equal(np.sort(found), np.arange(n))
        np.testing.assert_array_equal(found, order(SOURCE, n))


@pytest.mark.slow
def test_a_million_positions_are_a_bijection():
    n = 1_000_003
    found = np.asarray(jax.jit(lambda index: shuffled(SOURCE, n, index))(jnp.arange(n)))
    assert (np.bincount(found, minlength=n) == 1).all()


def test_streams_have_different_orders():
    found = orders(37)
    assert len(np.unique(found, axis=0)) == len(found)
    # Two orders agree in one place on average; the number is Poisson distributed.
    assert np.mean(found[::2] == found[1::2]) * 37 == pytest.approx(1, abs=5 / np.sqrt(10_000))


@pytest.mark.parametrize("n", some_slow([2, 6, 37, 64], 2, 64))
def test_all_places_are_equally_likely(n):
    """Counts [position, place] of 20,000 streams; the smallest of n p-values is tested as a minimum."""
    found = orders(n)
    p = [stats.chisquare(np.bincount(found[:, position], minlength=n)).pvalue for position in range(n)]
    assert min(p) * n > 1e-3


@pytest.mark.parametrize("n", [37, 99])
@pytest.mark.slow
def test_neighbors_do_not_stay_neighbors(n):
    """By chance about two of n - 1 neighboring pairs stay neighbors; a short cipher may leave one more."""
    together = np.mean(np.abs(np.diff(orders(n), axis=1)) == 1)
    assert 1.9 < together * n < 3


@pytest.mark.slow
def test_the_order_does_not_depend_on_batching():
    whole = order(SOURCE, 1000)
    batched = jax.jit(lambda first: shuffled(SOURCE, 1000, first + jnp.arange(8)))
    np.testing.assert_array_equal(np.concatenate([batched(jnp.int32(first)) for first in range(0, 1000, 8)]), whole)
    backwards = jnp.arange(999, 980, -1)
    np.testing.assert_array_equal(jax.jit(lambda index: shuffled(SOURCE, 1000, index))(backwards), whole[backwards])


def test_positions_keep_their_dtype():
    assert jax.eval_shape(lambda: shuffled(SOURCE, 50, jnp.arange(3))).dtype == jnp.int32
