"""Category codes of items: shares and memory."""

import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from jaxrec.pipeline.item_facts import ItemFacts
from jaxrec.rerank.shortlist import Mixes


def test_shares_of_an_item_sum_to_one_over_its_categories():
    mixes = Mixes(jnp.array([[2, 0, 0], [0, 0, 0], [1, 3, 0], [3, 2, 1]]), 3)
    third = 1 / 3
    expected = np.array([[0, 1, 0], [0, 0, 0], [0.5, 0, 0.5], [third, third, third]], np.float32)
    assert mixes.shape == (4, 3)
    np.testing.assert_array_equal(mixes[jnp.arange(4)], expected)
    items = jnp.array([[3, 0], [-1, 2]])
    np.testing.assert_array_equal(jax.jit(lambda mixes: mixes[items])(mixes), expected[np.asarray(items)])


def test_many_categories_are_not_stored_as_a_dense_matrix():
    n_items, n_categories = 200_000, 20_000
    column = pd.Series(pd.Categorical.from_codes(np.arange(n_items) % n_categories, range(n_categories)).astype(str))
    frame = pd.DataFrame({"kind": column.astype("category")})
    tracemalloc.start()
    names, mixes = ItemFacts(category="kind")._mixes(frame, np.arange(n_items), n_items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert mixes.shape == (n_items, n_categories)
    assert peak < 2**28  # 2**33.9 bytes as a dense float32 matrix
    shares = np.asarray(mixes[jnp.array([5, 20_005, 7])])
    assert [names[i] for i in shares.argmax(axis=1)] == ["5", "5", "7"]
    assert (shares.sum(axis=1) == 1).all()
