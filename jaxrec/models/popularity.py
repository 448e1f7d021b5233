"""Popularity: score(u, i) = number of interactions of i. The baseline to beat."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from pydantic import PositiveFloat

from jaxrec.data.interactions import Interactions
from jaxrec.data.reading.times import DAY
from jaxrec.errors import InputError
from jaxrec.models.model import Solved
from jaxrec.query import Query


class Popularity(Solved):
    """The same ranking for all users, apart from the items filtered for each.

    Attributes:
        window_days: count only interactions less than this many days before the latest one in train; None: count all
    """

    n_items: int
    window_days: PositiveFloat | None = None

    def setup(self) -> None:
        self.count = self.param("count", nn.initializers.zeros, (self.n_items,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Counts of each query's own candidates."""
        return self.count[items]

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Counts of every item, repeated for each query."""
        return jnp.broadcast_to(self.count[None, :], (query.user.shape[0], self.n_items))

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I"]:
        """Weighted number of interactions of each item within the window."""
        if self.window_days is not None:
            if train.time is None:
                raise InputError(
                    f"model.window_days={self.window_days:g} needs timestamps: set data.time_column to their column, "
                    "or model.window_days=null to count all interactions"
                )
            train = train.take(train.time > train.time.max() - self.window_days * DAY)
        return np.bincount(train.item, train.weight, minlength=self.n_items).astype(np.float32)

    def solve(self, prepared: Float[Array, "I"]) -> dict[str, Float[Array, "I"]]:
        """The counts are the parameters."""
        return {"count": prepared}
