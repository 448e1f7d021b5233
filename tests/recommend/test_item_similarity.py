"""Similarity of items by categories, by the model, and by common users."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.item_labels import Categories
from jaxrec.recommend import item_similarity as similarity
from jaxrec.recommend.item_similarity import common_users, item_similarity, mixes
from jaxrec.rerank.shortlist import Mixes
from tests.serve.shop import CATEGORIES, ITEMS, KNOWN, USERS, recommender

HAD = tuple(np.array(column) for column in zip(*((u, i) for u, items in KNOWN.items() for i in items), strict=True))


def test_items_of_the_same_users_are_similar():
    # Users 0 to 3 had items 0 and 1, users 4 to 9 items 2, 3 and 4, nobody item 5.
    pairs = [(user, item) for user in range(4) for item in (0, 1)]
    pairs += [(user, item) for user in range(4, 10) for item in (2, 3, 4)]
    users, items = np.array(pairs).T
    vectors = common_users(users, items, 10, 6)
    products = vectors @ vectors.T
    # With the full rank, products of vectors are entries of the matrix: numbers of common users.
    expected = np.zeros((6, 6))
    expected[:2, :2], expected[2:5, 2:5] = 4, 6
    np.testing.assert_allclose(products, expected, atol=1e-4)


def test_categories_come_first_then_the_model_then_common_users():
    labeled, bare = (recommender(name, **more) for name, more in (("MatrixFactorization", {}), ("EASE", BARE)))
    found = item_similarity(labeled, HAD)
    assert isinstance(found, Mixes)
    np.testing.assert_array_equal(np.asarray(found[jnp.arange(ITEMS)]), np.eye(3)[np.arange(ITEMS) % 3])
    own = Mixes(jnp.ones((ITEMS, 1), jnp.int32), 1)
    assert item_similarity(labeled, HAD, own) is own
    vectors = np.asarray(item_similarity(recommender("MatrixFactorization", **BARE), HAD))
    np.testing.assert_array_equal(vectors, np.asarray(item_similarity(labeled, HAD, by="model")))
    table = np.asarray(labeled.arrays[1]["params"]["item_embedding"]["table"], np.float64)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors @ vectors.T, table @ table.T, atol=1e-5)  # the bias is left out
    common = np.asarray(item_similarity(bare, HAD))
    np.testing.assert_array_equal(common, common_users(*HAD, USERS, ITEMS).astype(np.float32))
    assert item_similarity(bare, HAD, by="model") is None
    assert item_similarity(bare, HAD, by="category") is None
    assert item_similarity(bare, (HAD[0][:0], HAD[1][:0])) is None


BARE = dict.fromkeys(CATEGORIES)


@pytest.mark.slow
def test_items_are_compared_by_the_most_frequent_categories(monkeypatch):
    monkeypatch.setattr(similarity, "CATEGORIES", 2)
    # Items 0 to 3: categories b; a and c; c and b; none. Once a, twice b and c.
    codes, offsets = np.array([1, 0, 2, 2, 1], np.int32), np.array([0, 1, 3, 5, 5])
    given = mixes(Categories(np.array(["a", "b", "c"], object), offsets, codes))
    np.testing.assert_array_equal(given[jnp.arange(4)], [[0, 1, 0], [0.5, 0, 0.5], [0, 0.5, 0.5], [0, 0, 0]])
    kept = item_similarity(recommender("EASE"), HAD, given)
    np.testing.assert_array_equal(kept[jnp.arange(4)], [[1, 0], [0, 1], [0.5, 0.5], [0, 0]])
