"""Matrix factorization: score(u, i) = <p_u, q_i> + b_u + b_i + b, or with cos(p_u, q_i) / temperature as the product.

[Koren, Bell, Volinsky 2009, Matrix factorization techniques for recommender systems; Rendle et al. 2020, Neural
collaborative filtering vs. matrix factorization revisited; cosines: Wu et al. 2024, On the effectiveness of sampled
softmax loss for item recommendation]
"""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from jaxrec.hyper import Padded, Traced
from jaxrec.models.cosine import smoothed_unit
from jaxrec.models.embedding import Bias, Embedding
from jaxrec.models.fold_in import constructor_arguments, most_likely
from jaxrec.models.model import FactorizedByRow
from jaxrec.query import Query


class MatrixFactorization(FactorizedByRow):
    """Dot product or cosine of a user vector and an item vector, with user, item and global biases.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension
        regularization: L2 penalty on the embedding vectors that a batch uses (not on the biases): frequent users and
            items are penalized more often, the weighting that works best for a dot product
        init_std: root-mean-square norm of an initial embedding vector
        temperature: None: dot products; otherwise cosines divided by it, which no frequent user or item can inflate;
            traced
        biases: add the biases to the score; without them and with temperature 1, scores are cosines
        width: columns in use; None: all

    Fidelity: the biased dot product of the paper. The global bias starts at the mean value for loss=mse and is trained
    like the other biases; rankings do not depend on it.
    """

    n_users: int
    n_items: int
    embedding_dim: Annotated[PositiveInt, Padded("width")] = 64
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1
    temperature: PositiveFloat | Traced | None = None
    biases: bool = True
    width: int | Traced | None = None

    def setup(self) -> None:
        self.user_embedding = Embedding(self.n_users, self.embedding_dim, self.width, self.init_std)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, self.width, self.init_std)
        if self.biases:
            self.user_bias, self.item_bias = Bias(self.n_users), Bias(self.n_items)
            self.bias = self.param("bias", nn.initializers.zeros, (1,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        p = self._users(query)
        if items.shape[1] <= 2:  # with one negative, one product per column takes 3/4 of the time of einsum
            columns = [(self._items(self.item_embedding.lookup(i)), self._item_bias(i)) for i in items.T]
            scores = jnp.stack([jnp.sum(p * q, axis=1) + b for q, b in columns], axis=1)
        else:
            scores = jnp.einsum("bd,bnd->bn", p, self._items(self.item_embedding.lookup(items)))
            scores = scores + self._item_bias(items)
        return scores + self._user_bias(query)[:, None] if self.biases else scores

    def query_vectors(self, query: Query) -> Float[Array, "B D2"]:
        """(p_u, b_u + b, 1): with `item_vectors`, the score as one dot product."""
        p = self._users(query)
        if not self.biases:
            return p
        bias = self._user_bias(query)[:, None]
        return jnp.concatenate([p, bias, jnp.ones_like(bias)], axis=1)

    def item_vectors(self) -> Float[Array, "I D2"]:
        """(q_i, 1, b_i) of the whole catalog."""
        q = self._items(self.item_embedding.whole())
        if not self.biases:
            return q
        bias = self.item_bias.whole()[:, None]
        return jnp.concatenate([q, jnp.ones_like(bias), bias], axis=1)

    def vectors_of(self, items: Int[Array, "N"]) -> Float[Array, "N D2"]:
        """`item_vectors` of these items only."""
        q = self._items(self.item_embedding.lookup(items))
        if not self.biases:
            return q
        bias = self.item_bias.lookup(items)[:, None]
        return jnp.concatenate([q, jnp.ones_like(bias), bias], axis=1)

    def _users(self, query: Query) -> Float[Array, "B D"]:
        p = self.user_embedding.lookup(query.user)
        return p if self.temperature is None else smoothed_unit(p) / self.temperature

    def _items(self, q: Float[Array, "*S D"]) -> Float[Array, "*S D"]:
        return q if self.temperature is None else smoothed_unit(q)

    def _item_bias(self, items: Int[Array, "*S"]) -> Float[Array, "*S"]:
        return self.item_bias.lookup(items) if self.biases else jnp.zeros(items.shape)

    def _user_bias(self, query: Query) -> Float[Array, "B"]:
        return self.user_bias.lookup(query.user) + self.bias

    def fold_in(self, length: int) -> "FoldedMF":
        """A model with the same parameters for new users with histories of up to `length` interactions."""
        return FoldedMF(**constructor_arguments(self), history_length=length, parent=None)

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        p, q = self.user_embedding.squared_lengths(), self.item_embedding.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q


class FoldedMF(MatrixFactorization):
    """Matrix factorization for new users: p is the MAP estimate for the history under a softmax over the catalog.

    score = <p, q_i> + b_i + b with item parameters fixed; the variance of the Gaussian prior of p is that of the
    trained user vectors, and 1 / width for cosines, where p is then scaled to norm 1. Up to the prior this is the
    objective of loss=softmax, which sampled losses approximate. See `fold_in.most_likely`.

    Attributes:
        history_length: number of latest interactions used; repeats count as often as they occur
    """

    history_length: int = 0

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.einsum("bd,bnd->bn", self.query_vectors(query), self.item_vectors()[items])

    def query_vectors(self, query: Query) -> Float[Array, "B D2"]:
        """(p, b, 1)."""
        assert query.history is not None
        q = self._items(self.item_embedding.whole())
        columns = jnp.asarray(self.embedding_dim if self.width is None else self.width, jnp.float32)
        if self.temperature is None:
            variance = jnp.maximum(jnp.mean(self.user_embedding.squared_lengths()) / columns, 1e-6)
        else:
            q, variance = q / self.temperature, 1 / columns
        item_bias = self.item_bias.whole() if self.biases else jnp.zeros(self.n_items)
        p = most_likely(q, item_bias, query.history.items, variance)
        p = p if self.temperature is None else smoothed_unit(p) / self.temperature
        if not self.biases:
            return p
        bias = jnp.broadcast_to(self.bias[None], (p.shape[0], 1))
        return jnp.concatenate([p, bias, jnp.ones_like(bias)], axis=1)
