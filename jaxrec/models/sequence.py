"""Base class of sequence models: an encoder output at every position of a history; the last one is the query vector.

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
    """A model that scores items by the user's history only. A family defines `encode` and `item_vectors`.

    Attributes:
        history_length: number of latest items read (T); static

    Items are padded on the left with -1; outputs do not depend on the amount of padding.
    """

    n_items: int
    history_length: PositiveInt = 50
    causal = True  # outputs at a position do not depend on later positions

    def encode(self, items: Int[Array, "B T"], noise: Noise | None = None) -> Float[Array, "B T D"]:
        """Encoder output at each position, scored against `item_vectors`; `noise` turns dropout on."""
        raise self._lacks("encode(items, noise)")

    def query_vectors(self, query: Query) -> Float[Array, "B D"]:
        """Encoder output at the end of each history, which may be empty."""
        if query.history is not None:
            return self.after(query.history.items)
        if not self.is_initializing():
            name = type(self).__name__
            raise InputError(f"{name} needs histories, which this loss does not provide: choose loss=sequence_softmax")
        return self.after(jnp.full((query.user.shape[0], self.history_length), -1, jnp.int32))

    def after(self, items: Int[Array, "B T"]) -> Float[Array, "B D"]:
        """Query vectors of histories given as items."""
        return self.encode(items)[:, -1]
