"""Objective of autoencoders of a user's items: all items are reconstructed from a random part of them.

[Liang et al. 2018, Variational autoencoders for collaborative filtering]
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Int
from pydantic import NonNegativeFloat

from jaxrec.errors import InputError
from jaxrec.fitting.objective import Costs, UserItems, UserObjective
from jaxrec.hyper import Share, Traced
from jaxrec.losses import multinomial
from jaxrec.models.dropout import Noise
from jaxrec.models.model import Model, Params
from jaxrec.models.mult_vae import MultVAE
from jaxrec.random import RandomStream, substream

LATENT = 1  # substream of the latent vectors


@dataclass(frozen=True)
class Reconstruction(UserObjective):
    """-sum over a user's items of log softmax(s)_i + beta KL(q(z | part of the items) || N(0, I)); batches count users.

    Attributes:
        dropout: share of a user's items hidden from the encoder, resampled each step; they are still targets
        beta: weight of the Kullback-Leibler divergence; 0 regularizes by dropout and noise alone
    """

    dropout: Share | Traced = 0.3
    beta: NonNegativeFloat | Traced = 0.2

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
        bound = model.bind(params)
        latent = bound.encode(examples.query(rows, model.history_length, 1 - self.dropout, source))
        z = latent.sample(Noise(substream(source, LATENT), rows))
        chosen = examples.chosen(rows, model.n_items)
        cost = multinomial(bound.decode(z) @ bound.item_vectors().T, chosen) + self.beta * latent.divergence()
        return cost, jnp.ones_like(cost)


def as_autoencoder(model: Model) -> MultVAE:
    """Return the model if it is an autoencoder; otherwise raise an InputError."""
    check_autoencoder(type(model))
    assert isinstance(model, MultVAE)
    return model


def check_autoencoder(model: type[Model]) -> None:
    """Raise an InputError for a model that is not an autoencoder."""
    if not issubclass(model, MultVAE):
        raise InputError(
            "this loss trains autoencoders of a user's items: choose model=mult_vae or model=recvae, or loss=softmax"
        )
