"""Items had by the same users point one way, items of different users are at right angles."""

import numpy as np

from jaxrec.data.item_similarity import had_together


def test_what_the_same_users_had_is_alike():
    # Users 0 to 3 had items 0 and 1, users 4 to 9 items 2, 3 and 4, nobody item 5.
    pairs = [(user, item) for user in range(4) for item in (0, 1)]
    pairs += [(user, item) for user in range(4, 10) for item in (2, 3, 4)]
    users, items = np.array(pairs).T
    vectors = had_together(users, items, 10, 6)
    products = vectors @ vectors.T
    # With all directions that there are, products of vectors are those of the matrix: how many users had both.
    expected = np.zeros((6, 6))
    expected[:2, :2], expected[2:5, 2:5] = 4, 6
    np.testing.assert_allclose(products, expected, atol=1e-4)
