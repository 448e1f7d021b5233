"""Session neighbors against loops over lists of items."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.history import History
from jaxrec.models.session_knn import SessionKNN
from jaxrec.query import Query
from tests.models.neighbors import ITEMS, USERS, train

WEIGHTS = {
    "same": lambda s, n: 1.0,
    "linear": lambda s, n: (n - s) / n,
    "quadratic": lambda s, n: ((n - s) / n) ** 2,
    "div": lambda s, n: 1 / (s + 1),
}


def by_hand(x: np.ndarray, session: list[int], k: int, weighting: str, vote: str) -> np.ndarray:
    steps = {item: len(session) - 1 - at for at, item in enumerate(session)}  # the last occurrence counts
    weight = {item: WEIGHTS[weighting](s, len(session)) for item, s in steps.items()}
    norm = sum(w**2 for w in weight.values()) ** 0.5
    near = {}
    for other in range(USERS):
        common = [item for item in steps if x[other, item]]
        if common:
            cosine = sum(weight[item] for item in common) / (norm * x[other].sum() ** 0.5 + 2.0)
            near[other] = cosine, WEIGHTS[vote](min(steps[item] for item in common), len(session))
    chosen = sorted(near, key=lambda other: (-near[other][0], other))[:k]
    return sum((np.prod(near[other]) * x[other] for other in chosen), np.zeros(ITEMS))


@pytest.mark.parametrize(("weighting", "vote"), [("linear", "div"), ("quadratic", "same"), ("same", "linear")])
def test_scores(weighting, vote):
    """A session with an item that occurs twice, and an empty one."""
    data, x = train()
    model = SessionKNN(USERS, ITEMS, 6, 4, "cosine", shrinkage=2.0, weighting=weighting, vote=vote)
    params = {"params": model.solve(model.prepare(data))}
    history = jnp.array([[-1, 2, 5, 0, 2, 7], [-1] * 6])
    scores = model.apply(params, Query(jnp.array([-1, -1]), History(history)), method="score_catalog")
    np.testing.assert_allclose(scores[0], by_hand(x, [2, 5, 0, 2, 7], 4, weighting, vote), rtol=1e-5, atol=1e-6)
    assert not np.asarray(scores[1]).any()
