"""What sequence models have in common: a vector at every position of a history, and the last one asks.

score(u, i) = <h_T, q_i>, h = encode(the latest T items of u).
"""

from typing import Annotated

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from pydantic import Field, PositiveInt

from jaxrec.errors import InputError
from jaxrec.models.dropout import Noise
from jaxrec.models.model import Factorized
from jaxrec.query import Query

Rate = Annotated[float, Field(ge=0, lt=1)]


class SequenceModel(Factorized):
    """A family defines `encode` and `item_vectors`; nothing depends on who the user is, only on their history.

    history_length: the latest so many items are seen (T); static

    Items are padded on the left by -1, and padding changes no answer.
    """

    n_items: int
    history_length: PositiveInt = 50
    causal = True  # what a position answers does not depend on what comes after

    def encode(self, items: Int[Array, "B T"], noise: Noise | None = None) -> Float[Array, "B T D"]:
        """What follows each position, as a vector to be multiplied by `item_vectors`; `noise` turns dropout on."""
        raise self._lacks("encode(items, noise)")

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
