"""DLRM: score(u, i) = top([z, <e_1, e_2>, <e_1, e_3>, ...]), with the dot products of all pairs of feature vectors.

The vectors e are the embeddings of the ids, of every category and of every bag, and z, the output of the bottom MLP
over the numeric features.
[Naumov et al. 2019, Deep learning recommendation model for personalization and recommendation systems]
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import Field, NonNegativeFloat, PositiveInt

from jaxrec.data.features import Sizes
from jaxrec.errors import InputError
from jaxrec.features import FeatureTable
from jaxrec.hyper import Traced
from jaxrec.models.embedding import Embedding
from jaxrec.models.feature_embedding import FeatureEmbedding
from jaxrec.models.layer import Layer
from jaxrec.models.model import Pairwise
from jaxrec.pairs import every_pair
from jaxrec.query import Query


class Side(NamedTuple):
    """Features of users alone, or of items alone: their vectors, and their contribution to the first top layer."""

    vectors: Float[Array, "*S V D"]
    part: Float[Array, "*S H"]


class DLRM(Pairwise):
    """Embeddings of user and item features, their pairwise dot products, and an MLP over these.

    Attributes:
        n_users, n_items: numbers of users and items
        embedding_dim: embedding dimension of every feature
        bottom: hidden units of the MLP over numeric features; a last layer of embedding_dim units is added
        top: hidden units of the MLP over dot products; a scalar output is added
        ids: use user and item ids as categories too
        regularization: L2 penalty on the id embeddings that a batch uses
        init_std: root-mean-square norm of an initial embedding vector
        user_table, item_table, user_sizes, item_sizes: features; at least one is required

    Fidelity: dot products of distinct pairs, concatenated with z, and ReLU layers as in the paper. The paper has one
    bottom MLP over all numeric features; here users and items have one each, so that ranking a catalog computes
    everything that depends on users alone or items alone once. Only user-item dot products, their part of the first
    top layer, and the layers above are computed per pair. Numeric features are standardized; the authors' code takes
    logarithms. Bags are averaged; theirs are summed. Only the id embeddings are regularized.
    """

    n_users: int
    n_items: int
    embedding_dim: PositiveInt = 16
    bottom: tuple[PositiveInt, ...] = (64,)
    top: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64, 32)
    ids: bool = True
    regularization: NonNegativeFloat | Traced = 0.0
    init_std: NonNegativeFloat = 0.3
    user_table: FeatureTable | None = None
    item_table: FeatureTable | None = None
    user_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()
    item_sizes: tuple[tuple[int, ...], tuple[int, ...], int] = Sizes()

    needs_features = True

    def setup(self) -> None:
        if self.ids:
            self.user_embedding = Embedding(self.n_users, self.embedding_dim, std=self.init_std)
            self.item_embedding = Embedding(self.n_items, self.embedding_dim, std=self.init_std)
        self.user_features = FeatureEmbedding(Sizes(*self.user_sizes), self.embedding_dim, self.init_std)
        self.item_features = FeatureEmbedding(Sizes(*self.item_sizes), self.embedding_dim, self.init_std)
        self.user_bottom, self.item_bottom = self._bottom(), self._bottom()
        n_user, n_item = self._n_vectors()
        user_inputs, item_inputs = self._n_inputs()
        if not n_user or not n_item:
            raise InputError(
                "model=dlrm with model.ids=false needs features of both users and items: add both tables, or set "
                "model.ids=true"
            )
        total = user_inputs + item_inputs + n_user * n_item
        he, fan_in = nn.initializers.he_normal(), (total, self.top[0])
        first = self.param("first", he, fan_in)
        self.user_kernel, self.item_kernel, self.pair_kernel = jnp.split(
            first, [user_inputs, user_inputs + item_inputs]
        )
        self.first_bias = self.param("first_bias", nn.initializers.zeros, (self.top[0],))
        self.hidden = [Layer(units, kernel_init=he) for units in self.top[1:]]
        self.output = Layer(1, use_bias=False)
        self.bias = self.param("bias", nn.initializers.zeros, (1,))

    @property
    def reads_ids(self) -> bool:
        """Whether users are identified by id; users without training data then get the popularity list."""
        return self.ids

    @property
    def pair_floats(self) -> int:
        """Floats allocated per user-item pair during scoring."""
        n_user, n_item = self._n_vectors()
        return 2 * n_user * n_item + sum(self.top)

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates; the logit of a click."""
        user, item = self.users(query.user), self._items(items)
        dots = jnp.einsum("bud,bnid->bnui", user.vectors, item.vectors)
        across = dots.reshape(*items.shape, -1) @ self.pair_kernel
        return self._score(user.part[:, None, :] + item.part + across) + self.bias[:, None]

    def item_parts(self) -> Side:
        """Item-only features of the whole catalog; items are the last axis."""
        return jax.tree.map(jnp.transpose, self._items(jnp.arange(self.n_items, dtype=jnp.int32)))

    def score_parts(self, query: Query, parts: Side) -> Float[Array, "B N"]:
        """Scores of the items in `parts`, which holds all or some columns of `item_parts`."""

        def score_user(user: Side, items: Side) -> Float[Array, "N"]:
            dots = jnp.einsum("ud,din->uin", user.vectors, items.vectors)
            across = self.pair_kernel.T @ dots.reshape(-1, dots.shape[-1])
            return self._score(user.part[:, None] + items.part + across, axis=0)

        return every_pair(score_user, self.users(query.user), parts, self.pair_floats) + self.bias[:, None]

    def users(self, user: Int[Array, "B"]) -> Side:
        """User-only features."""
        of_id = self.user_embedding.lookup(user) if self.ids else None
        rows = None if self.user_table is None else self.user_table.rows(user)
        vectors, inputs = self._side(of_id, rows, self.user_features, self.user_bottom)
        return Side(vectors, inputs @ self.user_kernel + self.first_bias[None, :])

    def penalty(self, query: Query) -> tuple[Float[Array, "B"], Float[Array, "I"]]:
        """L2 penalty of each user and item per occurrence in a batch: regularization * squared norm."""
        if not self.ids:
            return super().penalty(query)
        p, q = self.user_embedding.squared_lengths(), self.item_embedding.squared_lengths()
        return self.regularization * p[query.user], self.regularization * q

    def _items(self, items: Int[Array, "*S"]) -> Side:
        of_id = self.item_embedding.lookup(items) if self.ids else None
        rows = None if self.item_table is None else self.item_table.rows(items)
        vectors, inputs = self._side(of_id, rows, self.item_features, self.item_bottom)
        return Side(vectors, inputs @ self.item_kernel)

    def _side(
        self,
        of_id: Float[Array, "*S D"] | None,
        rows: FeatureTable | None,
        features: FeatureEmbedding,
        bottom: Sequence[nn.Dense],
    ) -> tuple[Float[Array, "*S V D"], Float[Array, "*S X"]]:
        """Feature vectors of one side, and its inputs to the top MLP: z and the dot products within the side."""
        parts = [] if of_id is None else [of_id[..., None, :]]
        inputs = []
        if rows is not None:
            parts.append(features.vectors(rows))
            if rows.numbers.shape[-1]:
                z = features.numbers(rows)
                for layer in bottom:
                    z = nn.relu(layer(z))
                parts.append(z[..., None, :])
                inputs.append(z)
        vectors = jnp.concatenate(parts, axis=-2)
        first, second = np.triu_indices(vectors.shape[-2], 1)
        dots = jnp.einsum("...ud,...vd->...uv", vectors, vectors)[..., first, second]
        return vectors, jnp.concatenate([*inputs, dots], axis=-1)

    def _score(self, x: Float[Array, "..."], axis: int = -1) -> Float[Array, "..."]:
        """Layers of the top MLP after the first one, whose units are on this axis; see `Layer`."""
        x = nn.relu(x)
        for layer in self.hidden:
            x = nn.relu(layer(x, axis))
        return jnp.squeeze(self.output(x, axis), axis)

    def _bottom(self) -> list[nn.Dense]:
        return [
            nn.Dense(units, kernel_init=nn.initializers.he_normal()) for units in (*self.bottom, self.embedding_dim)
        ]

    def _n_vectors(self) -> tuple[int, int]:
        """Number of feature vectors of a user and of an item."""

        def count(sizes: Sizes) -> int:
            return int(self.ids) + len(sizes.categories) + len(sizes.bags) + (sizes.numbers > 0)

        return count(Sizes(*self.user_sizes)), count(Sizes(*self.item_sizes))

    def _n_inputs(self) -> tuple[int, int]:
        """Number of top MLP inputs that depend on the user alone and on the item alone."""

        def count(n: int, sizes: Sizes) -> int:
            return n * (n - 1) // 2 + (self.embedding_dim if sizes.numbers else 0)

        n_user, n_item = self._n_vectors()
        return count(n_user, Sizes(*self.user_sizes)), count(n_item, Sizes(*self.item_sizes))
