"""Neighbors of every item: score(u, i) = sum of w(i, j) over the k nearest neighbors j of i in u's history."""

from collections.abc import Callable
from dataclasses import field
from typing import Annotated

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import PositiveInt

from jaxrec.errors import InputError
from jaxrec.hyper import Padded, Traced
from jaxrec.models.model import Additive, Solved
from jaxrec.query import Query

LIMIT_GIB = 8


class ItemNeighbors(Additive, Solved):
    """Base class of models with k neighbors per item; reads histories, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
        k: neighbors stored per item
        n_neighbors: neighbors in use; None: all
    """

    n_items: int
    history_length: int = field()
    k: Annotated[PositiveInt, Padded("n_neighbors")] = 100
    n_neighbors: int | Traced | None = field(default=None, kw_only=True)

    def setup(self) -> None:
        shape = (self.n_items, min(self.k, self.n_items))
        self.neighbors = self.param("neighbors", nn.initializers.zeros, shape, jnp.int32)
        self.similarities = self.param("similarities", nn.initializers.zeros, shape)

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        assert query.history is not None
        x = query.history.multihot(self.n_items)
        near = self.neighbors[items]
        in_history = jnp.take_along_axis(x, near.reshape(len(x), -1), axis=1).reshape(near.shape)
        return jnp.sum(self.similarities[items] * in_history, axis=2)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item, one neighbor of each at a time, so that no [items, items] matrix is needed."""
        assert query.history is not None
        x = query.history.multihot(self.n_items).T

        def add(scores: Array, neighbor: tuple[Array, Array]) -> tuple[Array, None]:
            item, similarity = neighbor
            return scores + similarity[:, None] * x[item], None

        scores, _ = jax.lax.scan(add, jnp.zeros_like(x), (self.neighbors.T, self.similarities.T))
        return scores.T

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry to the score of each query's item; repeated entries share it equally."""
        assert query.history is not None
        entries = query.history.items
        often = jnp.take_along_axis(query.history.counts(self.n_items), jnp.maximum(entries, 0), axis=1)
        is_near = entries[:, :, None] == self.neighbors[items][:, None, :]
        near = jnp.sum(jnp.where(is_near, self.similarities[items][:, None, :], 0.0), axis=2)
        return near / jnp.maximum(often, 1.0)

    def nearest(self, weights: Callable[[Int[Array, ""]], Float[Array, "I"]]) -> dict[str, Array]:
        """Parameters: the neighbors of each item and their weights, largest first; padded with item 0 and 0.0.

        Args:
            weights: weights of all items as neighbors of an item; that of the item itself is not used.
        """
        k = min(self.k, self.n_items)
        in_use = jnp.arange(k) < (k if self.n_neighbors is None else self.n_neighbors)

        def best(item: Int[Array, ""]) -> tuple[Array, Array]:
            values, neighbors = jax.lax.top_k(weights(item).at[item].set(0.0), k)
            kept = in_use & (values > 0)
            return jnp.where(kept, neighbors, 0), jnp.where(kept, values, 0.0)

        block = max(1, min(self.n_items, (1 << 21) // self.n_items))
        neighbors, similarities = jax.lax.map(best, jnp.arange(self.n_items), batch_size=block)
        return {"neighbors": neighbors, "similarities": similarities}

    def check_size(self, model: str) -> None:
        """Raise an InputError if a dense [items, items] matrix is too large for this model of conf/."""
        if (gib := self.n_items**2 * 4 / 2**30) > LIMIT_GIB:
            raise InputError(
                f"model={model} needs a co-occurrence matrix of {self.n_items:,} x {self.n_items:,} items "
                f"({gib:.0f} GiB, limit {LIMIT_GIB} GiB); keep fewer items (data.k_core), or choose model=ials or "
                "model=mf"
            )
