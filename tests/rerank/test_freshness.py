"""Freshness against its formula."""

import numpy as np

from jaxrec.rerank.freshness import freshened, freshness

AGES = np.array([[0.0, 10.0, 20.0, -5.0, np.nan], [30.0, 5.0, 0.0, 10.0, 1.0]], np.float32)
SCORES = np.array([[4.0, 8.0, 6.0, 2.0, 7.0], [1.0, 2.0, -np.inf, 3.0, 3.0]], np.float32)


def test_freshness_halves_with_age_and_is_zero_for_an_unknown_age():
    np.testing.assert_allclose(
        freshness(AGES, 10.0), [[1, 0.5, 0.25, 1, 0], [0.125, 2**-0.5, 1, 0.5, 2**-0.1]], rtol=1e-6
    )


def test_users_may_have_different_half_lives():
    found = freshness(AGES, np.array([10.0, 5.0], np.float32))
    np.testing.assert_allclose(found[1], [2**-6, 0.5, 1, 0.25, 2**-0.2], rtol=1e-6)


def test_freshened_scores_are_shares_of_relevance_and_freshness():
    relevance = np.array([[1 / 3, 1, 2 / 3, 0, 5 / 6], [0, 0.5, -np.inf, 1, 1]])
    fresh = np.array([[1, 0.5, 0.25, 1, 0], [0.125, 2**-0.5, 1, 0.5, 2**-0.1]])
    np.testing.assert_allclose(freshened(SCORES, AGES, 0.25, 10.0), 0.75 * relevance + 0.25 * fresh, rtol=1e-6)
