"""Evidence lower bound of an autoencoder, by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.fitting.reconstruction import LATENT, Reconstruction
from jaxrec.history import History
from jaxrec.models.mult_vae import MultVAE
from jaxrec.query import Query
from jaxrec.random import normals, substream, uniforms
from tests.models.weights import drawn

USER, ITEM = np.array([0, 0, 0, 2], np.int32), np.array([3, 1, 3, 0], np.int32)  # user 1 has no items
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(3), np.arange(4))
MODEL = MultVAE(4, history_length=3, embedding_dim=2, hidden_dim=3, init_std=1.0)
SOURCE = jnp.array([4, 2], jnp.uint32)


def test_cost_of_a_batch():
    """Dropped items are targets too; item 3 of user 0 counts once."""
    objective = Reconstruction(dropout=0.4, beta=0.3)
    examples, n = objective.examples(TRAIN, 3)
    params = jax.tree.map(
        jnp.asarray, drawn(MODEL, Query(jnp.zeros(1, jnp.int32), History(jnp.zeros((1, 3), jnp.int32))))
    )
    cost, weight = jax.jit(lambda rows: objective.costs(MODEL, params, examples, rows, SOURCE, False))(jnp.arange(2))
    assert n == 2
    bound, items = MODEL.bind(params), ([1, 3], [0])
    shown_of = [[i for i in own if float(uniforms(SOURCE, jnp.array(row), jnp.array(i))) < 0.6] for row, own in
                enumerate(items)]  # fmt: skip
    assert sum(map(len, shown_of)) not in (0, 3)  # some items are dropped, some are not
    for row, (own, shown) in enumerate(zip(items, shown_of, strict=True)):
        history = jnp.array([shown + [-1] * (3 - len(shown))], jnp.int32)
        latent = bound.encode(Query(jnp.zeros(1, jnp.int32), History(history)))
        mean, variance = (np.asarray(x[0], np.float64) for x in (latent.mean, np.exp(latent.log_variance)))
        e = normals(substream(SOURCE, LATENT), jnp.full(2, row), jnp.arange(2))
        z = mean + np.sqrt(variance) * np.asarray(e)
        scores = np.asarray(bound.decode(jnp.asarray(z[None], jnp.float32)) @ bound.item_vectors().T, np.float64)[0]
        likelihood = sum(scores[i] - np.log(np.exp(scores).sum()) for i in own)
        divergence = np.sum(variance + mean**2 - 1 - np.log(variance)) / 2
        np.testing.assert_allclose(cost[row], -likelihood + 0.3 * divergence, rtol=1e-5)
    np.testing.assert_array_equal(weight, 1)
