"""RP3beta against a random walk of three steps with explicit transition matrices."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.fitting.closed_form import ClosedForm
from jaxrec.fitting.population import Population
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.models.rp3beta import RP3Beta
from jaxrec.query import Query
from tests.models.neighbors import ITEMS, train
from tests.models.weights import call


def transitions(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the transition probabilities from users to items and from items to users."""
    return tuple(m / np.maximum(m.sum(axis=1, keepdims=True), 1) for m in (x, x.T))


def test_scores_are_the_probabilities_of_a_walk_of_three_steps():
    data, x = train()
    (model_params,) = _fit([1.0], [0.0], [ITEMS], data)
    users, (to_items, to_users) = np.arange(5), transitions(x)
    walk = to_items @ _without_diagonal(to_users @ to_items)
    history = np.full((5, ITEMS), -1)
    for row, user in enumerate(users):
        had = np.flatnonzero(x[user])
        history[row, ITEMS - len(had) :] = had
    query = Query(jnp.asarray(users), History(jnp.asarray(history)))
    scores = call(RP3Beta(ITEMS, ITEMS, k=ITEMS), model_params, "score_catalog", query)
    np.testing.assert_allclose(scores / np.maximum(x[:5].sum(axis=1), 1)[:, None], walk[:5], rtol=1e-5, atol=1e-7)


def test_members_have_their_own_exponents_and_neighbors():
    data, x = train()
    settings = (0.7, 0.4, 5), (1.3, 0.0, 3)
    for params, (alpha, beta, k) in zip(_fit(*zip(*settings, strict=True), data), settings, strict=True):
        to_items, to_users = (p**alpha for p in transitions(x))
        weights = _without_diagonal(to_users @ to_items) / np.maximum(x.sum(axis=0), 1) ** beta
        for item in range(ITEMS):
            nearest = np.argsort(-weights[:, item], kind="stable")[:k]
            found = np.zeros(ITEMS)
            np.add.at(found, params["params"]["neighbors"][item], params["params"]["similarities"][item])
            np.testing.assert_allclose(found[nearest], weights[nearest, item], rtol=1e-4, atol=1e-7)
            assert (np.delete(found, nearest) == 0).all()


def test_the_device_solution_equals_that_of_the_host():
    data, _ = train()
    model = RP3Beta(ITEMS, 9, 4)
    found, host = jax.jit(model.solve)(model.prepare(data)), model.solve_on_host(data, [model])
    np.testing.assert_allclose(found["similarities"], host["similarities"][0], rtol=1e-5)


def _fit(alpha, beta, k, data) -> list[dict]:
    numbers = {"alpha": np.array(alpha, np.float32), "beta": np.array(beta, np.float32)}
    numbers |= {"n_neighbors": np.array(k, np.int32)}
    hyper = Hyper({f"model.{name}": values for name, values in numbers.items()})
    params = ClosedForm()(RP3Beta(ITEMS, 9, max(k)), data, Population(np.arange(len(k)), hyper)).params
    return [jax.tree.map(lambda values, m=m: np.asarray(values[m]), params) for m in range(len(k))]


def _without_diagonal(matrix: np.ndarray) -> np.ndarray:
    return matrix * (1 - np.eye(len(matrix)))
