"""Mult-VAE against numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.history import History
from jaxrec.models.dropout import Noise
from jaxrec.models.mult_vae import Latent, MultVAE
from jaxrec.query import Query
from jaxrec.random import normals
from tests.models.weights import assert_scores, drawn

QUERY = Query(jnp.array([0, 1], jnp.int32), History(jnp.array([[5, 1, 5], [-1, -1, -1]], jnp.int32)))


def test_scores():
    """A repeated item counts once; for the second user, without a history, only biases are left."""
    model = MultVAE(6, history_length=3, embedding_dim=2, hidden_dim=4, init_std=1.0)
    params = drawn(model, QUERY)
    w = params["params"]
    dense = lambda name, x: x @ w[name]["kernel"] + w[name]["bias"]  # noqa: E731
    expected = []
    for items in ([1, 5], []):
        x = np.zeros(6)
        x[items] = 1 / np.sqrt(max(len(items), 1))
        hidden = np.tanh(x @ w["history_embedding"]["table"] + w["encoder_bias"])
        decoded = np.tanh(dense("decoder", dense("mean", hidden)))
        expected.append(decoded @ np.transpose(w["item_embedding"]["table"]) + w["item_bias"]["table"])
    assert_scores(model, params, QUERY, np.array(expected))


def test_samples_and_divergence():
    """Against the definition, integral of q log(q / p), by a sum over a grid."""
    latent = Latent(jnp.array([[0.5, -1.0]]), jnp.log(jnp.array([[0.25, 2.0]])))
    noise = Noise(jnp.array([3, 4], jnp.uint32), jnp.array([7]))
    e = np.asarray(normals(noise.source, jnp.array([[7]]), jnp.arange(2)[None, :]))
    np.testing.assert_allclose(latent.sample(noise), [[0.5, -1.0]] + e * np.sqrt([[0.25, 2.0]]), rtol=1e-6)

    z, step = np.linspace(-15, 15, 30_001, retstep=True)
    density = lambda mean, variance: np.exp(-((z - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)  # noqa: E731
    expected = sum(
        np.sum(q * np.log((q + 1e-300) / density(0, 1))) * step for q in (density(0.5, 0.25), density(-1.0, 2.0))
    )
    np.testing.assert_allclose(latent.divergence(), [expected], rtol=1e-5)
    assert jax.grad(lambda mean: Latent(mean, jnp.zeros((1, 2))).divergence()[0])(jnp.array([[2.0, 0.0]])).tolist() == [
        [2.0, 0.0]
    ]
