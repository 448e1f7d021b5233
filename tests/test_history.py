"""Windows of histories on the device against plain Python lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.histories import UserHistories
from jaxrec.history import DeviceHistories, device_histories

latest = jax.jit(DeviceHistories.latest, static_argnums=2)
ENTRIES = 12


@pytest.mark.parametrize("length", [1, 3, ENTRIES + 2])
def test_latest(length):
    """Any range, also empty: the entries before its end, padded on the left, in every column."""
    rng = np.random.default_rng(0)
    items, event = rng.integers(0, 9, (2, ENTRIES))
    gap, value = rng.random((2, ENTRIES)).astype(np.float32)
    bounds = np.array([(low, high) for low in range(ENTRIES + 1) for high in range(low, ENTRIES + 1)])
    source = device_histories(UserHistories(np.array([0, ENTRIES]), items, event, gap, value), *bounds.T)
    found = latest(source, jnp.arange(len(bounds)), length)
    for column, padding, window in zip((items, event, gap, value), (-1, 0, 0, 0), found[:4], strict=True):
        expected = [[padding] * length + column[low:high].tolist() for low, high in bounds]
        np.testing.assert_array_equal(window, np.array([row[-length:] for row in expected], column.dtype))


def test_missing_columns_are_absent_and_empty_histories_are_padding():
    nothing = device_histories(UserHistories(np.zeros(3, int), np.zeros(0, np.int32)))
    history = latest(nothing, jnp.array([0, 1]), 3)
    np.testing.assert_array_equal(history.items, np.full((2, 3), -1))
    assert history[1:] == (None, None, None, None)


@pytest.mark.parametrize("length", [1, 3, ENTRIES + 2])
def test_excluding_an_entry_equals_removing_it(length):
    """Every range, and every entry in it."""
    items = np.arange(ENTRIES) + 20
    cases = [
        (low, high, but) for low in range(ENTRIES) for high in range(low + 1, ENTRIES + 1) for but in range(low, high)
    ]
    low, high, but = np.array(cases).T
    source = device_histories(UserHistories(np.array([0, ENTRIES]), items), low, high)
    found = latest(source, jnp.arange(len(low)), length, skip=jnp.asarray(but))
    expected = [[-1] * length + [i for i in items[a:b].tolist() if i != 20 + c] for a, b, c in cases]
    np.testing.assert_array_equal(found.items, [row[-length:] for row in expected])
