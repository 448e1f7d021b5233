"""User neighbors against loops over sets of items."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.history import History
from jaxrec.models.user_knn import UserKNN
from jaxrec.query import Query
from tests.models.neighbors import ITEMS, KINDS, USERS, train
from tests.slow import some_slow


def by_hand(x: np.ndarray, user: int, had: np.ndarray, kind: str, k: int, weight: np.ndarray) -> np.ndarray:
    near = {}
    for v in range(USERS):
        both = float(weight @ (had * x[v]))
        if v != user and both > 0:
            near[v] = KINDS[kind](both, float(weight @ had), float(weight @ x[v]))
    chosen = sorted(near, key=lambda v: (-near[v], v))[:k]
    return sum((near[v] * x[v] for v in chosen), np.zeros(ITEMS))


@pytest.mark.parametrize("idf", some_slow([False, True], False))
@pytest.mark.parametrize("kind", some_slow(KINDS, "dice"))
def test_scores_against_loops(kind, idf):
    """A known user, a known user with another history, an empty history, and padding in between."""
    data, x = train()
    weight = np.log(USERS / (1 + x.sum(axis=0))).clip(0) ** 2 if idf else np.ones(ITEMS)
    model = UserKNN(USERS, ITEMS, 9, 4, kind, shrinkage=2.0, idf=idf)
    params = {"params": model.solve(model.prepare(data))}
    rows = [np.flatnonzero(x[3]), np.array([2, 5]), np.array([], int)]
    history = np.full((3, 9), -1)
    for row, items in enumerate(rows):
        history[row, 9 - len(items) :] = items
    query = Query(jnp.array([3, 7, 8]), History(jnp.asarray(history)))
    found = model.apply(params, query, method="score_catalog")
    for row, user in enumerate((3, 7, 8)):
        had = np.isin(np.arange(ITEMS), rows[row]).astype(float)
        expected = by_hand(x, user, had, kind, 4, weight)
        np.testing.assert_allclose(found[row], expected, rtol=1e-5, atol=1e-6)
    assert float(found[2].max()) == 0


@pytest.mark.slow
def test_only_neighbors_in_use_count():
    data, x = train()
    model = UserKNN(USERS, ITEMS, 9, 6, shrinkage=2.0, n_neighbors=2)
    params = {"params": model.solve(model.prepare(data))}
    items = np.flatnonzero(x[3])
    query = Query(jnp.array([3]), History(jnp.asarray(np.pad(items, (9 - len(items), 0), constant_values=-1))[None]))
    found = model.apply(params, query, method="score_catalog")[0]
    np.testing.assert_allclose(found, by_hand(x, 3, x[3], "cosine", 2, np.ones(ITEMS)), rtol=1e-5, atol=1e-6)
