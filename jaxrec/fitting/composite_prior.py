"""Objective of RecVAE: reconstruction with a composite prior, by encoder and decoder jointly or alternately.

[Shenbin et al. 2020, RecVAE: a new variational autoencoder for top-N recommendations with implicit feedback]
"""

from dataclasses import dataclass
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
from pydantic import Field, NonNegativeFloat, NonNegativeInt

from jaxrec.errors import InputError
from jaxrec.fitting.objective import Costs, UserItems, UserObjective
from jaxrec.fitting.reconstruction import LATENT, as_autoencoder
from jaxrec.hyper import Share, Traced
from jaxrec.losses import multinomial
from jaxrec.models.dropout import Noise
from jaxrec.models.model import Model, Params
from jaxrec.models.mult_vae import Latent
from jaxrec.random import RandomStream, substream

WIDE = 10.0  # log variance of the wide part of the prior


@dataclass(frozen=True)
class CompositePrior(UserObjective):
    """-sum over a user's items of log softmax(s)_i + gamma n_u (log q(z) - log p(z)); batches count users.

    z is one sample of q, the posterior of a part of the user's items, n_u the number of the items. The prior p is a
    mixture of N(0, 1), of N(0, e^10), and of the posterior of all of the user's items by the encoder before this epoch.

    Attributes:
        dropout: share of a user's items hidden from the encoder while it is trained, resampled each step
        gamma: weight of the divergence per item of the user
        standard, wide: shares of N(0, 1) and N(0, e^10) in the prior; the earlier posterior has the rest
        encoder_epochs: epochs that train the encoder alone, before each one that trains the decoder alone, from all
            items; 0: all epochs train both, from the items that are shown

    Fidelity: the mixture, one per coordinate, and the other defaults are those of the authors' code. The authors
    alternate, `encoder_epochs=3`, which was worse where it was measured (`docs/defaults.md`); they count these
    three and the decoder's as one epoch, and their prior is the posterior before all four. Encoder and decoder share an
    optimizer, whose momentum moves each on for some steps after its epochs.
    """

    reads_start = True

    dropout: Share | Traced = 0.5
    gamma: NonNegativeFloat | Traced = 0.005
    standard: Annotated[float, Field(gt=0, lt=1)] = 0.15
    wide: Annotated[float, Field(gt=0, lt=1)] = 0.1
    encoder_epochs: NonNegativeInt = 0

    def __post_init__(self) -> None:
        if self.standard + self.wide >= 1:
            raise InputError(
                f"loss.standard={self.standard} and loss.wide={self.wide} are shares of the prior and must add up to "
                "less than 1: decrease them"
            )

    def costs(
        self,
        model: Model,
        params: Params,
        examples: UserItems,
        rows: Int[Array, "B"],
        source: RandomStream,
        penalized: bool,
    ) -> Costs:
        """Negative evidence lower bound of each user; every user has weight 1."""
        model = as_autoencoder(model)
        assert examples.start is not None
        hidden = jnp.asarray(self.dropout)
        if self.encoder_epochs:
            encodes = examples.start.n_epochs % (self.encoder_epochs + 1) < self.encoder_epochs
            params, hidden = _one_trained(params, model.decoder_parts, encodes), jnp.where(encodes, hidden, 0)
        bound = model.bind(params)
        latent = bound.encode(examples.query(rows, model.history_length, 1 - hidden, source))
        z = latent.sample(Noise(substream(source, LATENT), rows))
        before = model.bind(examples.start.params).encode(examples.query(rows, model.history_length, 1.0, source))
        divergence = jnp.sum(latent.log_density(z) - self.log_prior(z, before), axis=1)
        chosen = examples.chosen(rows, model.n_items)
        cost = multinomial(bound.decode(z) @ bound.item_vectors().T, chosen)
        cost = cost + self.gamma * jnp.sum(chosen, axis=1) * divergence
        return cost, jnp.ones_like(cost)

    def log_prior(self, z: Float[Array, "B D"], before: Latent) -> Float[Array, "B D"]:
        """Log density of each coordinate under the mixture."""
        zero = jnp.zeros_like(z)
        parts = Latent(zero, zero), before, Latent(zero, zero + WIDE)
        shares = jnp.array([self.standard, 1 - self.standard - self.wide, self.wide])
        densities = jnp.stack([part.log_density(z) for part in parts])
        return jax.nn.logsumexp(densities + jnp.log(shares)[:, None, None], axis=0)


def _one_trained(params: Params, decoder: tuple[str, ...], encodes: Array) -> Params:
    """The parameters, with gradients of the encoder or of the decoder only."""

    def gated(name: str, part: PyTree) -> PyTree:
        trained = ~encodes if name in decoder else encodes
        return jax.tree.map(lambda x: jnp.where(trained, x, jax.lax.stop_gradient(x)), part)

    return {"params": {name: gated(name, part) for name, part in params["params"].items()}}
