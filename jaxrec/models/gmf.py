"""Generalized matrix factorization: score(u, i) = h . (p_u * q_i) + b, where * is the elementwise product.

[He et al. 2017, Neural collaborative filtering, section 3.2]
"""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.hyper import Padded, Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.model import FactorizedByRow
from jaxrec.query import Query


class GMF(FactorizedByRow):
    """Dot product with learned weights per dimension.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension
        regularization: L2 penalty on the embedding vectors that a batch uses
        init_std: root-mean-square norm of an initial embedding vector
        width: columns in use; None: all

    Fidelity: the paper's model; its sigmoid is in the loss (`loss=bce`). Initial weights h are normal with variance
    1 / width; the authors' code draws them uniformly with the same variance. Initial vectors are normal as in that
    code, but their norm does not depend on the width.
    """

    n_users: int
    n_items: int
    embedding_dim: Annotated[PositiveInt, Padded("width")] = 32
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1
    width: int | Traced | None = None

    def setup(self) -> None:
        self.user_embedding = Embedding(self.n_users, self.embedding_dim, self.width, self.init_std)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, self.width, self.init_std)
        self.output = Embedding(1, self.embedding_dim, self.width, std=1.0)  # h
        self.bias = self.param("bias", nn.initializers.zeros, (1,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        weighted = self.output.lookup(jnp.zeros(1, jnp.int32)) * self.user_embedding.lookup(query.user)
        return jnp.einsum("bd,bnd->bn", weighted, self.item_embedding.lookup(items)) + self.bias[:, None]

    def query_vectors(self, query: Query) -> Float[Array, "B D1"]:
        """(h * p_u, b): with `item_vectors`, the score as one dot product."""
        weighted = self.output.lookup(jnp.zeros(1, jnp.int32)) * self.user_embedding.lookup(query.user)
        return jnp.concatenate([weighted, jnp.broadcast_to(self.bias[:, None], (weighted.shape[0], 1))], axis=1)

    def item_vectors(self) -> Float[Array, "I D1"]:
        """(q_i, 1) of the whole catalog."""
        return jnp.concatenate([self.item_embedding.whole(), jnp.ones((self.n_items, 1))], axis=1)

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N D1"]:
        """`item_vectors` of these items only."""
        return jnp.concatenate([self.item_embedding.lookup(items), jnp.ones((items.shape[0], 1))], axis=1)

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        p, q = self.user_embedding.squared_lengths(), self.item_embedding.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q
