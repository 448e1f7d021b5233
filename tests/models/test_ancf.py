"""Attention against numpy, and histories that are empty, short, or too long for the window."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.history import History
from jaxrec.models import ancf
from jaxrec.models.ancf import ANCF
from jaxrec.query import Query
from tests.models.weights import assert_scores, call, drawn

USERS = Query(jnp.array([2, 0], jnp.int32))
ASKED = USERS._replace(history=History(jnp.array([[-1, 5, 1], [-1, -1, -1]], jnp.int32)))
relu = lambda x: np.maximum(x, 0)  # noqa: E731


def attention(w: dict, x: np.ndarray) -> np.ndarray:
    return relu(x @ w["hidden"]["kernel"] + w["hidden"]["bias"]) @ w["output"]["kernel"]


def layers(w: dict, x: np.ndarray) -> float:
    for name in sorted(name for name in w if name != "output"):
        x = relu(x @ w[name]["kernel"] + w[name]["bias"])
    return float(x @ w["output"]["kernel"][:, 0])


@pytest.mark.parametrize(("sizes", "units"), [(None, 5), ((), 5), pytest.param(None, 0, marks=pytest.mark.slow)])
def test_scores_over_latent_features(sizes, units):
    model = ANCF(3, 6, embedding_dim=4, attention_units=units, layers=sizes)
    params = drawn(model, USERS)
    w = params["params"]
    expected = np.zeros((2, 6))
    for row, u in enumerate((2, 0)):
        for i in range(6):
            z = w["user_embedding"]["table"][u] * w["item_embedding"]["table"][i]
            weights = np.exp(attention(w["attention"], z)) if units else np.ones(4)
            x = 4 * weights / weights.sum() * z
            expected[row, i] = layers(w["score"], x) + w["item_bias"][i] + w["user_bias"][u] + w["bias"][0]
    assert_scores(model, params, USERS, expected)


@pytest.mark.parametrize("table_entries", [1 << 28, 10], ids=["pairs kept", "pairs computed"])
@pytest.mark.parametrize(
    ("beta", "units"),
    [(0.5, 5), pytest.param(1.0, 5, marks=pytest.mark.slow), pytest.param(0.5, 0, marks=pytest.mark.slow)],
)
def test_scores_over_the_history(beta, units, table_entries, monkeypatch):
    """The second user has no history: only layers of zeros and biases are left. Without units all weights are 1."""
    monkeypatch.setattr(ancf, "TABLE_ENTRIES", table_entries)
    model = ANCF(3, 6, history_length=3, embedding_dim=4, attention_units=units, beta=beta)
    params = drawn(model, ASKED)
    w = params["params"]
    p, q = w["history_embedding"]["table"], w["item_embedding"]["table"]
    expected = np.zeros((2, 6))
    for row, history in enumerate(([5, 1], [])):
        for i in range(6):
            e = [np.exp(attention(w["attention"], p[j] * q[i])[0]) if units else 1.0 for j in history]
            v = sum((e_j * p[j] for e_j, j in zip(e, history, strict=True)), np.zeros(4))
            x = v / (sum(e) ** beta if e else 1) * q[i]
            expected[row, i] = layers(w["score"], x) + w["item_bias"][i] + w["bias"][0]
    assert_scores(model, params, ASKED, expected)


def test_an_empty_history_has_finite_gradients():
    model = ANCF(3, 6, history_length=3, embedding_dim=4)
    params = drawn(model, ASKED)
    total = lambda params: model.apply(params, ASKED, jnp.zeros((2, 1), jnp.int32)).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(total))(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(gradient))
    seen = np.flatnonzero(np.any(gradient["params"]["history_embedding"]["table"], axis=1))
    np.testing.assert_array_equal(seen, [1, 5])


def test_a_candidate_attends_to_similar_items():
    """With attention v . relu(p * q), an item attends to the history item with the same nonzero columns."""
    model = ANCF(1, 3, history_length=2, embedding_dim=2, attention_units=2, layers=(), beta=1.0)
    query = Query(jnp.zeros(1, jnp.int32), History(jnp.array([[0, 1]], jnp.int32)))
    params = drawn(model, query)
    w = params["params"]
    w["history_embedding"]["table"] = np.array([[3, 0], [0, 3], [0, 0]], np.float32)
    w["item_embedding"]["table"] = np.array([[3, 0], [0, 3], [0, 0]], np.float32)
    w["attention"] = {
        "hidden": {"kernel": np.eye(2, dtype=np.float32), "bias": np.zeros(2, np.float32)},
        "output": {"kernel": np.ones((2, 1), np.float32)},
    }
    w["score"]["output"]["kernel"] = np.ones((2, 1), np.float32)
    w["item_bias"], w["bias"] = np.zeros(3, np.float32), np.zeros(1, np.float32)
    e = np.exp(9)
    np.testing.assert_allclose(call(model, params, "score_catalog", query), [[9 * e / (e + 1)] * 2 + [0]], rtol=1e-5)


def test_the_penalty_counts_scored_items():
    for model, query in ((ANCF(3, 6, regularization=0.5), USERS), (ANCF(3, 6, 3, regularization=0.5), ASKED)):
        params = drawn(model, query)
        of_user, of_item = call(model, params, "penalty", query)
        squares = {
            name: 0.5 * (w["table"] ** 2).sum(axis=1) for name, w in params["params"].items() if "embedding" in name
        }
        np.testing.assert_allclose(
            of_user, squares["user_embedding"][[2, 0]] if "user_embedding" in squares else 0, rtol=1e-5
        )
        np.testing.assert_allclose(of_item, sum(x for name, x in squares.items() if "user" not in name), rtol=1e-5)
