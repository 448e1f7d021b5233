"""Uniform negatives: uniform, and the same for an example in any batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrec.negatives.candidates import Negatives
from jaxrec.negatives.uniform import Uniform
from jaxrec.random import stream, substream

SOURCE = stream(jax.random.key(11))


def draw(ratio: int, examples: jax.Array, n_items: int, n_negatives: int, source: jax.Array = SOURCE) -> Negatives:
    """Draw negatives in a compiled function, as in an epoch."""
    return jax.jit(lambda *numbers: Uniform(ratio)(*numbers[:2], n_items, numbers[2]))(
        source, examples, jnp.int32(n_negatives)
    )


@pytest.mark.parametrize("n_items", [7, 100, 1000])
def test_all_items_are_equally_likely_in_every_column(n_items):
    drawn = np.asarray(draw(4, jnp.arange(20_000), n_items, 4).items)
    assert drawn.min() == 0
    assert drawn.max() == n_items - 1
    for values in (drawn.ravel(), drawn[:, 0], drawn[:, 3]):
        assert stats.chisquare(np.bincount(values, minlength=n_items)).pvalue > 1e-3
    if n_items == 7:  # pairs of two columns
        assert stats.chisquare(np.bincount(7 * drawn[:, 1] + drawn[:, 2], minlength=49)).pvalue > 1e-3


def test_a_larger_ratio_keeps_the_first_columns():
    examples = jnp.array([5, 0, 900_000])
    few, many = (draw(ratio, examples, 50, 3) for ratio in (3, 8))
    np.testing.assert_array_equal(many.items[:, :3], few.items)
    assert (np.asarray(many.items[:, 3:]) != np.asarray(few.items[:, :1])).any()


@pytest.mark.parametrize("n_negatives", [1, 3, 8])
def test_used_marks_the_first_n(n_negatives):
    used = draw(8, jnp.arange(5), 50, n_negatives).used
    assert used.dtype == jnp.float32
    np.testing.assert_array_equal(used, np.tile(np.arange(8) < n_negatives, (5, 1)))


@pytest.mark.slow
def test_negatives_of_an_example_do_not_depend_on_the_batch():
    rows = np.array([13, 2, 2])
    whole, some = (np.asarray(draw(4, jnp.asarray(examples), 1000, 4).items) for examples in (np.arange(20), rows))
    np.testing.assert_array_equal(some, whole[rows])


def test_epochs_have_different_negatives():
    """Two epochs agree in one draw of 50."""
    first, second = (draw(4, jnp.arange(5000), 50, 4, substream(SOURCE, e)).items for e in (0, 1))
    assert np.mean(np.asarray(first) == np.asarray(second)) == pytest.approx(1 / 50, abs=5 * np.sqrt(1 / 50 / 20_000))


@pytest.mark.slow
def test_members_of_a_population_use_different_numbers_of_them():
    n_negatives = jnp.array([1, 4])
    drawn = jax.jit(jax.vmap(lambda n: Uniform(4)(SOURCE, jnp.arange(3), 50, n)))(n_negatives)
    np.testing.assert_array_equal(drawn.used.sum(axis=2), [[1] * 3, [4] * 3])
    np.testing.assert_array_equal(drawn.items[0], drawn.items[1])
