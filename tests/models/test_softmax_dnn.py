"""The softmax DNN against numpy: all inputs, with and without features, and empty histories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.features import FeatureTables, table, with_tables
from jaxrec.history import History
from jaxrec.models.softmax_dnn import SoftmaxDNN
from jaxrec.query import Query
from tests.models.synthetic_features import OF_ITEMS, OF_USERS, vectors
from tests.models.weights import assert_scores, call, drawn

ASKED = Query(jnp.array([2, 0], jnp.int32), History(jnp.array([[-1, 5, 1], [-1, -1, -1]], jnp.int32)))
HISTORIES = ([5, 1], [])
REGISTERED = FeatureTables(table(OF_USERS), table(OF_ITEMS))


def model(with_features: bool = True, **fields) -> SoftmaxDNN:
    sizes = {"user_sizes": OF_USERS.sizes, "item_sizes": OF_ITEMS.sizes} if with_features else {}
    made = SoftmaxDNN(3, 6, history_length=3, embedding_dim=4, feature_dim=2, layers=(5, 3), **sizes, **fields)
    return with_tables(made, REGISTERED) if with_features else made


def by_hand(
    w: dict, with_features: bool, user_ids=False, tied=False, residual=False, cosine=False, temperature=1.0
) -> np.ndarray:
    """Return scores by the formula in the module docstring, pair by pair."""
    q = w["item_embedding"]["table"]
    h = q if tied else w["history_embedding"]["table"]
    scores = np.zeros((2, 6))
    for row, user in enumerate((2, 0)):
        items = HISTORIES[row]
        bag = h[items].mean(axis=0) if items else np.zeros(4)
        x = [bag, [np.log1p(len(items)) / np.log(4)]]
        if with_features:
            n = OF_USERS.numbers[user]
            x += [vectors(w["user_features"], OF_USERS, user).ravel(), n, n**2, np.sign(n) * np.sqrt(np.abs(n))]
        x = np.concatenate(x)
        for layer in ("hidden_0", "hidden_1"):
            x = np.maximum(x @ w[layer]["kernel"] + w[layer]["bias"], 0)
        x = x @ w["last"]["kernel"]
        if residual:
            x = x + bag
        if user_ids:
            x = x + w["user_embedding"]["table"][user]
        for i in range(6):
            v = q[i]
            if with_features:
                f = np.concatenate([vectors(w["item_features"], OF_ITEMS, i).ravel(), OF_ITEMS.numbers[i]])
                v = v + f @ w["item_layer"]["kernel"]
            if cosine:
                scores[row, i] = x @ v / np.linalg.norm(x) / np.linalg.norm(v) / temperature
            else:
                scores[row, i] = (x @ v + w["item_bias"]["table"][i]) / temperature
    return scores


@pytest.mark.parametrize(
    ("with_features", "fields"),
    [
        pytest.param(True, {}, marks=pytest.mark.slow),
        (True, {"user_ids": True, "tied": True, "temperature": 0.5}),
        pytest.param(True, {"user_ids": True, "residual": True}, marks=pytest.mark.slow),
        (False, {"cosine": True, "temperature": 0.1}),
    ],
)
def test_scores(with_features, fields):
    made = model(with_features, **fields)
    params = drawn(made, ASKED)
    assert_scores(made, params, ASKED, by_hand(params["params"], with_features, **fields))


@pytest.mark.parametrize("length", [1, 40])
def test_the_bag_is_the_mean_for_both_computations(length):
    """By look-ups if histories are short relative to the catalog, else by a matrix product; repeats count."""
    made = SoftmaxDNN(1, 20, history_length=length, embedding_dim=4)
    items = np.full((2, length), -1)
    items[0, -3:] = [3, 7, 3][-length:]
    history = History(jnp.asarray(items, jnp.int32))
    params = drawn(made, Query(jnp.zeros(2, jnp.int32), history))
    known = items[0][items[0] >= 0]
    expected = params["params"]["history_embedding"]["table"][known].mean(axis=0)
    found = call(made, params, "bag", history)
    np.testing.assert_allclose(found, [expected, np.zeros(4)], rtol=1e-5, atol=1e-6)


def test_the_penalty_is_of_the_output_vectors():
    made = model(user_ids=True, regularization=0.1)
    params = drawn(made, ASKED)
    of_user, of_item = call(made, params, "penalty", ASKED)
    x = np.asarray(call(made, params, "queries", ASKED))
    np.testing.assert_allclose(of_user, 0.1 * (x**2).sum(axis=1), rtol=1e-4)
    v = np.asarray(call(made, params, "item_vectors"))[:, :-1]  # without biases
    np.testing.assert_allclose(of_item, 0.1 * (v**2).sum(axis=1), rtol=1e-4)


def test_gradients_are_finite_without_any_input():
    """Neither history nor features, and the cosine of a vector that may be zero."""
    made = SoftmaxDNN(3, 6, history_length=3, embedding_dim=4, layers=(), cosine=True)
    params = drawn(made, ASKED)
    total = lambda params: made.apply(params, ASKED, jnp.zeros((2, 1), jnp.int32)).sum()  # noqa: E731
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(jax.jit(jax.grad(total))(params)))


def test_a_new_user_has_no_vector_of_their_own():
    """User -1 is unknown, not the last row of the table."""
    model = SoftmaxDNN(n_users=3, n_items=5, history_length=2, embedding_dim=4, layers=(), user_ids=True)
    history = History(jnp.array([[1, 2]], jnp.int32))
    asked = Query(jnp.array([2], jnp.int32), history)
    params = jax.jit(model.init)(jax.random.key(0), asked, jnp.zeros((1, 1), jnp.int32))
    ask = jax.jit(lambda user: model.apply(params, Query(user, history), method="query_vectors"))
    known, nobody = (np.asarray(ask(jnp.array([user], jnp.int32)))[0, :4] for user in (2, -1))
    np.testing.assert_allclose(known - nobody, params["params"]["user_embedding"]["table"][2], atol=1e-6)
