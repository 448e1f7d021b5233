"""Cost of an autoencoder with a composite prior by hand, and which parameters an epoch trains."""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from jaxrec.data.interactions import Interactions
from jaxrec.errors import InputError
from jaxrec.fitting.composite_prior import CompositePrior
from jaxrec.fitting.epochs import fresh
from jaxrec.fitting.gradient import GradientFit
from jaxrec.fitting.objective import EpochStart, UserObjective
from jaxrec.fitting.optimizers import sgd
from jaxrec.fitting.population import Population
from jaxrec.fitting.reconstruction import LATENT
from jaxrec.history import History
from jaxrec.hyper import Hyper
from jaxrec.models.mult_vae import MultVAE
from jaxrec.models.recvae import RecVAE
from jaxrec.query import Query
from jaxrec.random import normals, substream, uniforms
from tests.models.weights import drawn

USER, ITEM = np.array([0, 0, 0, 2], np.int32), np.array([3, 1, 3, 0], np.int32)  # user 1 has no items
ITEMS = ([1, 3], [0])  # noise of the two examples
TRAIN = Interactions(USER, ITEM, None, None, None, np.arange(3), np.arange(4))
MODEL = RecVAE(4, history_length=3, embedding_dim=2, hidden_dim=3, init_std=1.0)
ANY = Query(jnp.zeros(1, jnp.int32), History(jnp.zeros((1, 3), jnp.int32)))
SOURCE = jnp.array([4, 2], jnp.uint32)
PARAMS, BEFORE = (jax.tree.map(jnp.asarray, drawn(MODEL, ANY, seed)) for seed in (0, 1))


def costs(objective: CompositePrior, params: dict, n_epochs: int) -> jax.Array:
    """Return the costs of both examples after this number of epochs."""
    examples, n = objective.examples(TRAIN, 3)
    assert n == 2
    examples = examples._replace(start=EpochStart(BEFORE, jnp.int32(n_epochs)))
    cost, weight = objective.costs(MODEL, params, examples, jnp.arange(2), SOURCE, False)
    return cost * weight


def latent(params: dict, items: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the encoder's mean and standard deviation for these items."""
    history = jnp.array([items + [-1] * (3 - len(items))], jnp.int32)
    found = jax.jit(lambda p, h: MODEL.bind(p).encode(Query(jnp.zeros(1, jnp.int32), h)))(params, History(history))
    return np.asarray(found.mean[0], np.float64), np.exp(np.asarray(found.log_variance[0], np.float64) / 2)


@pytest.mark.parametrize(("n_epochs", "hides"), [(0, True), (2, True), (3, False), (4, True)])
def test_cost_of_a_batch(n_epochs, hides):
    """Three epochs of the encoder, then one of the decoder without dropout. All items are targets."""
    found = jax.jit(partial(costs, CompositePrior(dropout=0.5, gamma=0.3, encoder_epochs=3), n_epochs=n_epochs))(PARAMS)
    n_hidden = 0
    for row, own in enumerate(ITEMS):
        shown = [i for i in own if not hides or float(uniforms(SOURCE, jnp.array(row), jnp.array(i))) < 0.5]
        n_hidden += len(own) - len(shown)
        mean, deviation = latent(PARAMS, shown)
        z = mean + deviation * np.asarray(normals(substream(SOURCE, LATENT), jnp.full(2, row), jnp.arange(2)))
        prior = 0.15 * norm.pdf(z) + 0.75 * norm.pdf(z, *latent(BEFORE, own)) + 0.1 * norm.pdf(z, 0, np.exp(5))
        divergence = np.sum(norm.logpdf(z, mean, deviation) - np.log(prior))
        w = PARAMS["params"]
        q, b = (np.asarray(w[name]["table"], np.float64) for name in ("item_embedding", "item_bias"))
        scores = q @ z + b
        likelihood = sum(scores[i] - np.log(np.exp(scores).sum()) for i in own)
        assert float(found[row]) == pytest.approx(-likelihood + 0.3 * len(own) * divergence, rel=1e-4)
    assert (n_hidden > 0) == hides


@pytest.mark.parametrize(
    ("encoder_epochs", "trained"), [(3, [{"encoder"}] * 3 + [{"decoder"}]), (0, [{"encoder", "decoder"}] * 2)]
)
def test_epochs_train_the_encoder_or_the_decoder(encoder_epochs, trained):
    objective = CompositePrior(encoder_epochs=encoder_epochs)
    gradient = jax.jit(jax.grad(lambda params, n: jnp.sum(costs(objective, params, n))))
    for n_epochs, expected in enumerate(trained):
        found = gradient(PARAMS, n_epochs)["params"]
        moved = {name for name, part in found.items() if any(np.any(x) for x in jax.tree.leaves(part))}
        decoder = {"item_embedding", "item_bias"}
        parts = {"encoder": found.keys() - decoder, "decoder": decoder}
        assert moved == set().union(*(parts[part] for part in expected))


def test_shares_of_the_prior_must_leave_a_share_to_the_earlier_posterior():
    with pytest.raises(InputError, match=r"loss\.standard=0\.5 and loss\.wide=0\.5 are shares of the prior"):
        CompositePrior(standard=0.5, wide=0.5)


@dataclass(frozen=True)
class FromStart(UserObjective):
    """(b - b at the start of the epoch)^2 / 2 - n b, with b the bias of the first item, after n epochs."""

    reads_start = True

    def costs(self, model, params, examples, rows, source, penalized):
        now, then = (p["params"]["item_bias"]["table"][0] for p in (params, examples.start.params))
        cost = (now - then) ** 2 / 2 - examples.start.n_epochs.astype(jnp.float32) * now
        return jnp.broadcast_to(cost, rows.shape), jnp.ones(rows.shape)


def test_an_objective_sees_the_start_of_each_epoch():
    """Two steps per epoch with rate 1/2: 0, 0; then 1/2, 3/4; then 3/4 + 1, 3/4 + 3/2."""
    model = MultVAE(4, history_length=3, embedding_dim=2, hidden_dim=3)
    hyper = Hyper({"optimizer.learning_rate": np.array([0.5], np.float32)})
    for n_epochs, expected in ((1, 0), (2, 0.75), (3, 2.25)):
        fit = GradientFit(FromStart(), sgd, epochs=n_epochs, batch_size=1)
        params = fit(model, TRAIN, Population(np.array([0]), hyper)).params["params"]
        assert float(params["item_bias"]["table"][0, 0]) == pytest.approx(expected)
    assert not np.any(fresh(model, jax.random.key(0), Hyper())["params"]["item_bias"]["table"])
