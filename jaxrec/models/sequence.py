"""What sequence models have in common: a vector at every position of a history, and the last one asks.

score(u, i) = <h_T, q_i>, h = encode(the latest T items of u).
"""

from typing import Annotated

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import Field, PositiveInt

from jaxrec.errors import InputError
from jaxrec.models.dropout import Noise
from jaxrec.query import Query

Rate = Annotated[float, Field(ge=0, lt=1)]


class SequenceModel(nn.Module):
    """A model that answers `encode` and `item_vectors`; nothing depends on who the user is, only on their history.

    history_length: the latest so many items are seen (T); static

    Items are padded on the left by -1, and padding changes no answer.
    """

    n_items: int
    history_length: PositiveInt = 50
    causal = True  # what a position answers does not depend on what comes after

    def encode(self, items: Int[Array, "B T"], noise: Noise | None = None) -> Float[Array, "B T D"]:
        """What follows each position, as a vector to be multiplied by `item_vectors`; `noise` turns dropout on."""
        raise NotImplementedError

    def item_vectors(self) -> Float[Array, "I D"]:
        """One row an item of the catalogue."""
        raise NotImplementedError

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """The vector at the end of each history, which may be empty."""
        if query.history is not None:
            return self.after(query.history.items)
        if not self.is_initializing():
            name = type(self).__name__
            raise InputError(
                f"{name} learns from histories, which this loss does not give: choose loss=sequence_softmax"
            )
        return self.after(jnp.full((query.user.shape[0], self.history_length), -1, jnp.int32))

    def after(self, items: Int[Array, "B T"]) -> Float[Array, "B D"]:
        """What follows these items."""
        return self.encode(items)[:, -1]

    def __call__(self, query: Query, items: Int[Array, "B N"]) -> Float[Array, "B N"]:
        """Scores of each query's own candidates."""
        return jnp.einsum("bd,bnd->bn", self.query_vectors(query), self.item_vectors()[items])

    def score_catalogue(self, query: Query) -> Float[Array, "B I"]:
        """Scores of every item."""
        return self.query_vectors(query) @ self.item_vectors().T
