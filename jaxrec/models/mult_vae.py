"""Mult-VAE: a variational autoencoder of a user's items with a multinomial likelihood.

x = items of the history, scaled to norm 1    mu, log s^2 = heads of tanh(W x + c)    z = mu + s e,  e ~ N(0, I)
score(u, i) = <tanh(V z + d), q_i> + b_i, with z = mu except in training

[Liang et al. 2018, Variational autoencoders for collaborative filtering]
"""

import math
from dataclasses import field
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.models.dropout import Noise
from jaxrec.models.embedding import Bias, Embedding
from jaxrec.models.layer import Layer
from jaxrec.models.model import FactorizedByRow
from jaxrec.query import Query
from jaxrec.random import normals


class Latent(NamedTuple):
    """Gaussian distribution of each user's latent vector, with a diagonal covariance matrix."""

    mean: Float[Array, "B D"]
    log_variance: Float[Array, "B D"]

    def sample(self, noise: Noise) -> Float[Array, "B D"]:
        """One vector per user."""
        columns = jnp.arange(self.mean.shape[1])[None, :]
        return self.mean + jnp.exp(self.log_variance / 2) * normals(noise.source, noise.rows[:, None], columns)

    def log_density(self, z: Float[Array, "B D"]) -> Float[Array, "B D"]:
        """Log density of each coordinate."""
        square = (z - self.mean) ** 2 * jnp.exp(-self.log_variance)
        return -(math.log(2 * math.pi) + self.log_variance + square) / 2

    def divergence(self) -> Float[Array, "B"]:
        """Kullback-Leibler divergence from the standard normal distribution."""
        return jnp.sum(jnp.exp(self.log_variance) + self.mean**2 - 1 - self.log_variance, axis=1) / 2


class MultVAE(FactorizedByRow):
    """Variational autoencoder; it reads the items of a history, so it scores new users too.

    Attributes:
        n_items: number of items
        history_length: length of the longest history, so that none is truncated
        embedding_dim: dimension of the latent vector z
        hidden_dim: hidden units of encoder and decoder
        init_std: root-mean-square norm of the vector of an item, initially, in encoder and decoder

    Memory: [B, items] floats for a batch of B users, as for their scores.
    Fidelity: encoder and decoder of the paper; repeated interactions count once. Inputs are scaled to norm 1 after
    some are hidden, not before, so that inputs in training and prediction have the same norm. The divergence has a
    constant weight, which a search can choose, where the paper raises it and stops at the best one.
    """

    # Modules of the decoder; all others are of the encoder.
    decoder_parts: ClassVar[tuple[str, ...]] = ("decoder", "item_embedding", "item_bias")

    n_items: int
    history_length: int = field()
    embedding_dim: PositiveInt = 200
    hidden_dim: PositiveInt = 600
    init_std: NonNegativeFloat = 0.5

    def setup(self) -> None:
        self.history_embedding = Embedding(self.n_items, self.hidden_dim, std=self.init_std)
        self.encoder_bias = self.param("encoder_bias", nn.initializers.zeros, (self.hidden_dim,))
        self.mean = Layer(self.embedding_dim)
        self.log_variance = Layer(self.embedding_dim)
        self.decoder = Layer(self.hidden_dim)
        self.item_embedding = Embedding(self.n_items, self.hidden_dim, std=self.init_std)
        self.item_bias = Bias(self.n_items)

    def encode(self, query: Query) -> Latent:
        """Distribution of the latent vector of each query."""
        hidden = jnp.tanh(self.embedded(query))
        return Latent(self.mean(hidden), self.log_variance(hidden))

    def embedded(self, query: Query) -> Float[Array, "B H"]:
        """First layer of the encoder, without its activation: W x + c."""
        assert query.history is not None
        x = query.history.multihot(self.n_items)
        scale = jax.lax.rsqrt(jnp.maximum(jnp.sum(x, axis=1), 1))
        return scale[:, None] * (x @ self.history_embedding.whole()) + self.encoder_bias[None, :]

    def decode(self, z: Float[Array, "B D"]) -> Float[Array, "B H1"]:
        """Vectors whose products with `item_vectors` are scores: (tanh(V z + d), 1)."""
        hidden = jnp.tanh(self.decoder(z))
        return jnp.concatenate([hidden, jnp.ones_like(hidden[:, :1])], axis=1)

    def query_vectors(self, query: Query) -> Float[Array, "B H1"]:
        """The decoded mean of each query."""
        return self.decode(self.encode(query).mean)

    def item_vectors(self) -> Float[Array, "I H1"]:
        """(q_i, b_i) of the whole catalog."""
        return jnp.concatenate([self.item_embedding.whole(), self.item_bias.whole()[:, None]], axis=1)

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N H1"]:
        """`item_vectors` of these items only."""
        return jnp.concatenate([self.item_embedding.lookup(items), self.item_bias.lookup(items)[:, None]], axis=1)
