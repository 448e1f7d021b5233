"""RecVAE against numpy."""

import jax.numpy as jnp
import numpy as np

from jaxrec.history import History
from jaxrec.models.recvae import RecVAE
from jaxrec.query import Query
from tests.models.weights import assert_scores, drawn

QUERY = Query(jnp.array([0, 1], jnp.int32), History(jnp.array([[5, 1, 5], [-1, -1, -1]], jnp.int32)))


def swish(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


def test_scores():
    """A repeated item counts once; each layer adds all earlier outputs before its activation."""
    model = RecVAE(6, history_length=3, embedding_dim=2, hidden_dim=4, init_std=1.0)
    params = drawn(model, QUERY)
    w = params["params"]

    def norm(layer: int, x: np.ndarray) -> np.ndarray:
        of = w[f"norms_{layer}"]
        return (x - x.mean()) / np.sqrt(x.var() + 0.1) * of["scale"] + of["bias"]

    def dense(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[name]["kernel"] + w[name]["bias"]

    expected = []
    for items in ([1, 5], []):
        x = np.zeros(6)
        x[items] = 1 / np.sqrt(max(len(items), 1))
        h1 = norm(0, swish(x @ w["history_embedding"]["table"] + w["encoder_bias"]))
        h2 = norm(1, swish(dense("layers_0", h1) + h1))
        h3 = norm(2, swish(dense("layers_1", h2) + h1 + h2))
        h4 = norm(3, swish(dense("layers_2", h3) + h1 + h2 + h3))
        h5 = norm(4, swish(dense("layers_3", h4) + h1 + h2 + h3 + h4))
        expected.append(dense("mean", h5) @ np.transpose(w["item_embedding"]["table"]) + w["item_bias"]["table"])
    assert_scores(model, params, QUERY, np.array(expected))
