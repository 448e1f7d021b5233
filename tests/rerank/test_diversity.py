"""MMR and greedy DPP against lists by their definitions, term by term, in numpy."""

import numpy as np
import pytest

from jaxrec.rerank.diversity import MIN_DISTANCE, dpp, mmr

USERS, CANDIDATES, D, K = 6, 12, 5, 8


@pytest.fixture(scope="module")
def candidates():
    """Return candidates: the last user has only five; one item is unknown, one repeats another."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(USERS, CANDIDATES)).astype(np.float32) * 7
    scores[-1, 5:] = -np.inf
    vectors = rng.normal(size=(USERS, CANDIDATES, D)).astype(np.float32)
    vectors[:, 3] = 0
    vectors[:, 4] = 2 * vectors[:, 2]
    return scores, vectors


def relevances(scores):
    known = scores[np.isfinite(scores)].astype(float)
    return (scores.astype(float) - known.min()) / (known.max() - known.min())


def cosines(vectors):
    v = vectors.astype(float)
    length = np.linalg.norm(v, axis=1, keepdims=True)
    v = np.divide(v, length, where=length > 0, out=np.zeros_like(v))
    similar = v @ v.T
    np.fill_diagonal(similar, 1)
    return similar


def made(scores, value):
    """Return the list by definition: repeatedly append the item with the largest `value(list)`."""
    chosen, left = [], [i for i in range(len(scores)) if np.isfinite(scores[i])]
    while left and len(chosen) < K:
        best = max(left, key=lambda i: value(chosen, i))
        chosen.append(best)
        left.remove(best)
    return chosen


def by_mmr(scores, vectors, strength):
    r, similar = relevances(scores), cosines(vectors)
    return made(
        scores, lambda chosen, i: (1 - strength) * r[i] - strength * max((similar[i, j] for j in chosen), default=0)
    )


def by_dpp(scores, vectors, strength):
    r, similar = relevances(scores), cosines(vectors)

    def value(chosen, i):
        before, after = (np.linalg.det(similar[np.ix_(s, s)]) if s else 1.0 for s in (chosen, [*chosen, i]))
        distance = after / before if before > 1e-9 else 0.0
        return (1 - strength) * r[i] + strength * np.log(max(distance, MIN_DISTANCE))

    return made(scores, value)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.7, 1.0])
def test_mmr_against_its_definition(candidates, strength):
    order = np.asarray(mmr(*candidates, strength, k=K))
    for found, scores, vectors in zip(order, *candidates, strict=True):
        expected = by_mmr(scores, vectors, strength)
        assert found[: len(expected)].tolist() == expected


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.4])
def test_dpp_against_its_definition(candidates, strength):
    # At most six dimensions (one for the unknown item) keep the determinant above rounding errors.
    order = np.asarray(dpp(*candidates, strength, k=K))
    for found, scores, vectors in zip(order, *candidates, strict=True):
        expected = by_dpp(scores, vectors, strength)[:6]
        assert found[: len(expected)].tolist() == expected


@pytest.mark.parametrize("rerank", [mmr, dpp])
def test_strength_zero_is_the_order_by_score_with_other_items_last(candidates, rerank):
    scores, vectors = candidates
    order = np.asarray(rerank(scores, vectors, 0.0, k=CANDIDATES))
    assert (order == np.argsort(-scores, axis=1, kind="stable")).all()


def test_users_may_have_different_strengths(candidates):
    strengths = np.linspace(0, 0.9, USERS, dtype=np.float32)
    together = np.asarray(mmr(*candidates, strengths, k=K))
    for user, strength in enumerate(strengths):
        alone = mmr(*(x[user : user + 1] for x in candidates), strength, k=K)
        assert (together[user] == np.asarray(alone)[0]).all()


def test_a_list_longer_than_its_candidates_is_refused(candidates):
    with pytest.raises(ValueError, match="k=13 exceeds the 12 candidates"):
        mmr(*candidates, 0.5, k=13)
