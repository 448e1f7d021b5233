"""Popularity: score(u, i) = how often i was chosen. The baseline that must be beaten."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrec.data.interactions import Interactions
from jaxrec.query import Query


class Popularity(nn.Module):
    """The same list for everybody, but for what they know already."""

    n_items: int

    def setup(self) -> None:
        self.count = self.param("count", nn.initializers.zeros, (self.n_items,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Counts of each query's own candidates."""
        return self.count[items]

    def score_catalogue(self, query: Query) -> Float[Array, "B I"]:
        """Counts of every item, once a query."""
        return jnp.broadcast_to(self.count[None, :], (query.user.shape[0], self.n_items))

    def statistics(self, train: Interactions) -> Float[np.ndarray, "I"]:
        """Interactions of each item, by their weight."""
        return np.bincount(train.item, train.weight, minlength=self.n_items).astype(np.float32)

    def solve(self, statistics: Float[Array, "I"]) -> dict[str, Float[Array, "I"]]:
        """The counts are the parameters."""
        return {"count": statistics}
