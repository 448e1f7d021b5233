"""Ragged rows against plain Python lists. Always six rows and twelve entries, so that each function compiles once."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrec.ragged import Ragged, ragged, sort_rows
from tests.slow import some_slow

ROWS, ENTRIES, ITEMS = 6, 12, 9


@st.composite
def row_lists(draw):
    """Generate six lists with twelve entries in total, some of them empty."""
    cuts = sorted(draw(st.lists(st.integers(0, ENTRIES), min_size=ROWS - 1, max_size=ROWS - 1)))
    entries = draw(st.lists(st.integers(0, ITEMS - 1), min_size=ENTRIES, max_size=ENTRIES))
    bounds = [0, *cuts, ENTRIES]
    return [entries[low:high] for low, high in pairwise(bounds)]


def flat(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.cumsum([0, *map(len, lists)])
    return offsets, np.array([item for row in lists for item in row], np.int32)


rows_drawn = st.lists(st.integers(0, ROWS - 1), min_size=4, max_size=4)
contains = jax.jit(Ragged.contains)
mask_block = jax.jit(Ragged.mask_block, static_argnums=3)
quick = settings(max_examples=25, deadline=None)


@given(row_lists(), rows_drawn)
@quick
def test_contains(lists, rows):
    """Queries: every item of the catalog, an id beyond it, and padding of short lists."""
    offsets, items = flat(lists)
    asked = [-1, *range(ITEMS + 1)]
    found = contains(ragged(offsets, sort_rows(offsets, items)), jnp.array(rows), jnp.tile(jnp.array(asked), (4, 1)))
    np.testing.assert_array_equal(found, [[item in lists[row] for item in asked] for row in rows])


@pytest.mark.parametrize("length", some_slow([1, 2, 3, 8, 31, 32, 33], 2, 8, 31, 33))
def test_contains_bisects_rows_of_any_length(length):
    """One row of even numbers: each is found, the odd ones between and around them are not."""
    row = ragged(np.array([0, length]), 2 * np.arange(length))
    asked = np.arange(-1, 2 * length + 1)
    found = contains(row, jnp.array([0]), jnp.asarray(asked)[None, :])
    np.testing.assert_array_equal(found[0], (asked % 2 == 0) & (asked < 2 * length))


@given(row_lists(), st.integers(0, ROWS - 1))
@quick
def test_mask_block(lists, first):
    """Blocks of four rows: from row 3 on, the block extends beyond the last row, where nothing is masked."""
    scores = jnp.arange(4 * ITEMS, dtype=jnp.float32).reshape(4, ITEMS)
    expected = np.asarray(scores).copy()
    for row, items in enumerate(lists[first : first + 4]):
        expected[row, items] = -np.inf
    np.testing.assert_array_equal(mask_block(ragged(*flat(lists)), scores, jnp.int32(first), ENTRIES), expected)


def test_mask_block_with_exactly_enough_entries():
    """max_entries is that of the largest block."""
    lists = [[0], [1, 2], [], [3, 0]]
    for first, expected in [
        (0, [[-np.inf, 0, 0, 0], [0, -np.inf, -np.inf, 0]]),
        (2, [[0] * 4, [-np.inf, 0, 0, -np.inf]]),
    ]:
        scores = jnp.zeros((2, 4))
        np.testing.assert_array_equal(mask_block(ragged(*flat(lists)), scores, jnp.int32(first), 3), expected)


def test_rows_without_any_entry():
    nothing = ragged(np.zeros(4, int), np.zeros(0, np.int32))
    rows = jnp.array([0, 2])
    assert not contains(nothing, rows, jnp.array([[-1, 0], [5, 1]])).any()
    assert (mask_block(nothing, jnp.zeros((2, 5)), jnp.int32(1), 1) == 0).all()


@given(row_lists())
@quick
def test_sort_rows(lists):
    offsets, items = flat(lists)
    _, expected = flat([sorted(row) for row in lists])
    np.testing.assert_array_equal(sort_rows(offsets, items), expected)
