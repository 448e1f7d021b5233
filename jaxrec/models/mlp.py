"""Multi-layer perceptron over a user and an item vector: score(u, i) = h . a_L(... a_1([p_u; q_i])) + b.

a_l(x) = relu(W_l x + b_l)   [He et al. 2017, Neural collaborative filtering, section 3.3]
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import NonNegativeFloat, PositiveInt

from jaxrec.errors import InputError
from jaxrec.hyper import Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.layer import Layer
from jaxrec.models.model import Pairwise
from jaxrec.pairs import every_pair
from jaxrec.query import Query


class Tower(nn.Module):
    """MLP h . a_L(... a_1([p; q])) that computes the first layer separately for p and q.

    A layer over a concatenation is a sum: W [p; q] = W_p p + W_q q. Each part is computed once per user or item,
    and each pair costs one addition.
    """

    dim: int  # of p and of q
    layers: tuple[int, ...]

    def setup(self) -> None:
        self.first = self.param("first", nn.initializers.glorot_uniform(), (2 * self.dim, self.layers[0]))
        self.first_bias = self.param("first_bias", nn.initializers.zeros, (self.layers[0],))
        self.rest = [Layer(size, kernel_init=nn.initializers.glorot_uniform()) for size in self.layers[1:]]
        self.output = Layer(1, use_bias=False, kernel_init=nn.initializers.lecun_uniform())

    def user_part(self, p: Float[Array, "B D"]) -> Float[Array, "B H"]:
        """W_p p + b_1."""
        return p @ self.first[: self.dim] + self.first_bias[None, :]

    def item_part(self, q: Float[Array, "*S D"]) -> Float[Array, "*S H"]:
        """W_q q."""
        return q @ self.first[self.dim :]

    def __call__(self, user_part: Float[Array, "B H"], item_part: Float[Array, "B N H"]) -> Float[Array, "B N"]:
        """Scores of every user's own candidates."""
        return self._rest(user_part[:, None, :] + item_part)

    def every(self, user_part: Float[Array, "B H"], item_part: Float[Array, "H N"]) -> Float[Array, "B N"]:
        """Scores of the same items, given as columns, for every user."""

        def score_user(user: Float[Array, "H"], items: Float[Array, "H N"]) -> Float[Array, "N"]:
            return self._rest(user[:, None] + items, axis=0)

        return every_pair(score_user, user_part, item_part, sum(self.layers))

    def _rest(self, x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        """Layers after the sum of both parts, whose units are on this axis; see `Layer`."""
        x = jax.nn.relu(x)
        for layer in self.rest:
            x = jax.nn.relu(layer(x, axis))
        return jnp.squeeze(self.output(x, axis), axis)


def tower_layers(dim: int, layers: tuple[int, ...] | None) -> tuple[int, ...]:
    """Hidden units of the tower: `layers`, or by default 2 * dim, dim and dim / 2 as in the paper."""
    if layers == ():
        raise InputError(
            "model.layers is empty: give the hidden units of at least one layer, e.g. [64,32], or null for the default"
        )
    return (2 * dim, dim, max(1, dim // 2)) if layers is None else layers


class MLP(Pairwise):
    """Multi-layer perceptron over the concatenated user and item vectors.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension of users and of items
        layers: hidden units of the MLP; None: 2, 1 and 1/2 times embedding_dim
        regularization: L2 penalty on the embedding vectors that a batch uses
        init_std: root-mean-square norm of an initial embedding vector

    Fidelity: the paper's model and its tower of three layers; its sigmoid is in the loss (`loss=bce`). Layers are
    initialized as in the authors' code (Glorot; LeCun for the last); vectors are normal as in that code, but their norm
    does not depend on the dimension. There is no `width`: the initialization of layers depends on their sizes, so a
    padded layer would start as a different model.
    """

    n_users: int
    n_items: int
    embedding_dim: PositiveInt = 32
    layers: tuple[PositiveInt, ...] | None = None
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.1

    def setup(self) -> None:
        self.user_embedding = Embedding(self.n_users, self.embedding_dim, std=self.init_std)
        self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        self.tower = Tower(self.embedding_dim, tower_layers(self.embedding_dim, self.layers))
        self.bias = self.param("bias", nn.initializers.zeros, (1,))

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        return sum(tower_layers(self.embedding_dim, self.layers))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        item_part = self.tower.item_part(self.item_embedding(items))
        return self.tower(self._user_part(query), item_part) + self.bias[:, None]

    def item_parts(self) -> Float[Array, "H I"]:
        """Item part of the first layer for the whole catalog."""
        return self.tower.item_part(self.item_embedding.whole()).T

    def score_parts(self, query: Query, parts: Float[Array, "H N"]) -> Float[Array, "B N"]:
        """Scores of the items in `parts`, which holds all or some columns of `item_parts`."""
        return self.tower.every(self._user_part(query), parts) + self.bias[:, None]

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        p, q = self.user_embedding.squared_lengths(), self.item_embedding.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q

    def _user_part(self, query: Query) -> Float[Array, "B H"]:
        """User part of the first layer."""
        return self.tower.user_part(self.user_embedding(query.user))
