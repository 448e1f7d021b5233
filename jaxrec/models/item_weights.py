"""Dense item-to-item weights W: score(u, .) = x_u W, with x_u the indicator of the items in the history."""

from dataclasses import field

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxrec.memory import require
from jaxrec.models.gram import BLOCK
from jaxrec.models.model import Additive, Solved
from jaxrec.query import Query

OTHER_BYTES = 1 << 27  # bytes of everything else: blocks of the Gram matrix and of scores, and compiled programs


class ItemWeights(Additive, Solved):
    """Base class of models with dense item-to-item weights; reads histories, so it scores new users too.

    Attributes:
        history_length: length of the longest history, so that none is truncated
    """

    n_items: int
    history_length: int = field()

    def setup(self) -> None:
        self.weights = self.param("weights", nn.initializers.zeros, (self.n_items, self.n_items))

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.take_along_axis(self.score_catalog(query), items, axis=1)

    def score_catalog(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item: the sum of the rows of W of the history's items."""
        assert query.history is not None
        return query.history.multihot(self.n_items) @ self.weights

    def contributions(self, query: Query, items: Int[Array, "B"]) -> Float[Array, "B T"]:
        """Contribution of each history entry to the score of each query's item; repeated entries share it equally."""
        assert query.history is not None
        entries = query.history.items
        often = jnp.take_along_axis(query.history.counts(self.n_items), jnp.maximum(entries, 0), axis=1)
        return jnp.where(entries < 0, 0.0, self.weights[entries, items[:, None]] / jnp.maximum(often, 1.0))

    def matrices(self, n_members: int) -> int:
        """[items, items] matrices in host memory at once; with several members, each device may hold copies."""
        return 1 if n_members == 1 else 2 * n_members

    def needs_memory(self, n_members: int) -> None:
        """Raise an InputError if the solutions of `n_members` members do not fit into host memory."""
        n = self.matrices(n_members)
        matrices = "a matrix" if n == 1 else f"{n} matrices"
        choice = type(self).__module__.rpartition(".")[2]  # models of jaxrec are in modules of that name
        fewer_at_once = "" if n_members == 1 else "solve fewer at a time (sweep.population=1), "
        require(
            (n * self.n_items + 3 * BLOCK) * self.n_items * 4 + OTHER_BYTES,
            f"model={choice} with {self.n_items:,} items ({matrices} of items x items)",
            f"{fewer_at_once}keep fewer items (data.k_core=5 or more), or choose model=ials or model=mf",
        )
