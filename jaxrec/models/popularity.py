"""Popularity: score(u, i) = how often i was chosen. The baseline that must be beaten."""

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
    """The same list for everybody, but for what they know already.

    window_days: only what lies less than so many days before the newest interaction of train counts; None: everything
    """

    n_items: int
    window_days: PositiveFloat | None = None

    def setup(self) -> None:
        self.count = self.param("count", nn.initializers.zeros, (self.n_items,))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Counts of each query's own candidates."""
        return self.count[items]

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Counts of every item, once a query."""
        return jnp.broadcast_to(self.count[None, :], (query.user.shape[0], self.n_items))

    def prepare(self, train: Interactions) -> Float[np.ndarray, "I"]:
        """Interactions of each item within the window, by their weight."""
        if self.window_days is not None:
            if train.time is None:
                raise InputError(
                    f"model.window_days={self.window_days:g} needs times: name their column in data.time_column, or "
                    "leave model.window_days null to count everything"
                )
            train = train.take(train.time > train.time.max() - self.window_days * DAY)
        return np.bincount(train.item, train.weight, minlength=self.n_items).astype(np.float32)

    def solve(self, statistics: Float[Array, "I"]) -> dict[str, Float[Array, "I"]]:
        """The counts are the parameters."""
        return {"count": statistics}
