"""The alias table: exact probabilities of its entries, and frequencies of draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxrec.negatives.alias import alias, keep_and_alias
from jaxrec.random import stream

SOURCE = stream(jax.random.key(3))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda weights: sum(weights) > 1e-3))
@example([104858.51977719966] * 5)  # after rounding, each is below the mean
def test_shares_add_up_to_the_probabilities(weights):
    probabilities = np.array(weights) / np.sum(weights)
    keep, other = keep_and_alias(probabilities)
    total = keep.copy()
    np.add.at(total, other, 1 - keep)
    np.testing.assert_allclose(total / len(weights), probabilities, atol=1e-9)


def test_draws_have_the_given_probabilities_and_never_probability_zero():
    probabilities = np.array([0.5, 0.0, 0.2, 0.29, 0.01])
    table = alias(probabilities)
    drawn = np.asarray(
        jax.jit(lambda rows: table.draw(SOURCE, rows, jnp.arange(4)[None, :]))(jnp.arange(20_000)[:, None])
    )
    for column in (drawn.ravel(), drawn[:, 2]):
        counts = np.bincount(column, minlength=5)
        assert counts[1] == 0
        assert stats.chisquare(counts[[0, 2, 3, 4]], probabilities[[0, 2, 3, 4]] * len(column)).pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 7])
def test_equal_weights_keep_every_place(n):
    keep, _ = keep_and_alias(np.full(n, 1 / n))
    np.testing.assert_allclose(keep, 1)
