"""Business rules against a loop over the list."""

import numpy as np

from jaxrec.rerank.rules import allowed, capped


def test_unavailable_items_are_not_candidates():
    found = allowed(np.array([[1.0, 2.0]], np.float32), np.array([[True, False]]))
    np.testing.assert_array_equal(found, [[1, -np.inf]])


def test_the_cap_against_a_loop_over_the_list():
    rng = np.random.default_rng(0)
    categories = rng.random((20, 15, 4)) < 0.4
    there = rng.random((20, 15)) < 0.9
    for limit in (1, 3):
        stays = np.asarray(capped(there, categories, limit))
        for user in range(20):
            count = np.zeros(4, int)
            for i in range(15):
                fits = there[user, i] and not (count[categories[user, i]] >= limit).any()
                assert stays[user, i] == fits
                count += categories[user, i] & fits
        assert stays[there & ~categories.any(axis=2)].all()
