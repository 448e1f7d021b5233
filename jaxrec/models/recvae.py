"""RecVAE: a variational autoencoder of a user's items with a densely connected encoder and a linear decoder.

x = items of the history, scaled to norm 1    h_1 = norm(swish(W_1 x + c_1))
h_l = norm(swish(W_l h_(l-1) + c_l + h_1 + ... + h_(l-1)))    mu, log s^2 = heads of h_5    z = mu + s e,  e ~ N(0, I)
score(u, i) = <z, q_i> + b_i, with z = mu except in training

[Shenbin et al. 2020, RecVAE: a new variational autoencoder for top-N recommendations with implicit feedback]
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrec.models.embedding import Bias, Embedding
from jaxrec.models.layer import Layer
from jaxrec.models.mult_vae import Latent, MultVAE
from jaxrec.query import Query

N_LAYERS = 5
EPSILON = 0.1  # added to the variance by layer norms, as in the authors' code


class RecVAE(MultVAE):
    """Variational autoencoder that scores new users too; its prior and its training are those of `CompositePrior`.

    Attributes:
        n_items: number of items
        history_length: length of the longest history, so that none is truncated
        embedding_dim: dimension of the latent vector z
        hidden_dim: hidden units of each layer of the encoder
        init_std: root-mean-square norm of the vector of an item, initially, in encoder and decoder

    Memory: [B, items] floats for a batch of B users, as for their scores.
    Fidelity: the layers of the authors' code. Inputs are scaled to norm 1 after some are hidden, not before.
    """

    decoder_parts: ClassVar[tuple[str, ...]] = ("item_embedding", "item_bias")

    def setup(self) -> None:
        self.history_embedding = Embedding(self.n_items, self.hidden_dim, std=self.init_std)
        self.encoder_bias = self.param("encoder_bias", nn.initializers.zeros, (self.hidden_dim,))
        self.layers = [Layer(self.hidden_dim) for _ in range(N_LAYERS - 1)]
        self.norms = [nn.LayerNorm(EPSILON) for _ in range(N_LAYERS)]
        self.mean = Layer(self.embedding_dim)
        self.log_variance = Layer(self.embedding_dim)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        self.item_bias = Bias(self.n_items)

    def encode(self, query: Query) -> Latent:
        """Distribution of the latent vector of each query."""
        first, *others = self.norms
        hidden = first(jax.nn.swish(self.embedded(query)))
        total = hidden
        for layer, norm in zip(self.layers, others, strict=True):
            hidden = norm(jax.nn.swish(layer(hidden) + total))
            total = total + hidden
        return Latent(self.mean(hidden), self.log_variance(hidden))

    def decode(self, z: Float[Array, "B D"]) -> Float[Array, "B D1"]:
        """Vectors whose products with `item_vectors` are scores: (z, 1)."""
        return jnp.concatenate([z, jnp.ones_like(z[:, :1])], axis=1)
